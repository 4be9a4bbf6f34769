use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use fardel_store::{
    Body, ByteRange, Capabilities, Error, ErrorKind, Finding, Key, Listed, Listing, Prefix, Result, Store,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::dirs::Dirs;
use super::fs::{Fs, Medium};
use super::guard::{Guard, Reserve};
use super::object::Objects;
use super::publish::Publisher;
use super::real_fs::RealFs;
use super::staging::Staging;
use super::walk::Walk;

/// A listing hands on so many names at once.
const BATCH: usize = 1024;

/// How a folder is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderOptions {
    /// How much room is left free.
    pub reserve: Reserve,
    /// How far listings can be trusted; `None` to judge by the file system: strong on disks of this machine, unknown on
    /// network mounts and FUSE, which cache folders. Set it where only this machine uses such a mount.
    pub listing: Option<Listing>,
}

/// A plain folder as a store; clones share it.
///
/// Opening makes nothing: a folder that does not exist is an empty store until something is put there.
#[derive(Clone, Debug)]
pub struct FolderStore {
    objects: Arc<Objects>,
    listing: Listing,
    is_real: bool,
}

impl FolderStore {
    /// Opens the folder `root`, and removes temporaries that dead processes left.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_with(root, FolderOptions::default())
    }

    /// The same with other options.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn open_with(root: &Path, options: FolderOptions) -> Result<Self> {
        let absolute = std::fs::canonicalize(root).or_else(|_| std::path::absolute(root));
        let root = absolute.map_err(|error| Error::io(root.display(), &error))?;
        Ok(Self::with_fs(Arc::new(RealFs), &root, options))
    }

    /// Opens the folder at the absolute path `root` of any file system.
    pub fn with_fs(fs: Arc<dyn Fs>, root: &Path, options: FolderOptions) -> Self {
        let medium = root.ancestors().find_map(|part| fs.medium(part).ok()).unwrap_or(Medium::Network);
        let strong = match medium {
            Medium::Local | Medium::Memory => Listing::Strong,
            Medium::Network | Medium::Fuse => Listing::Unknown,
        };
        let objects = Objects {
            dirs: Arc::new(Dirs::new(fs.clone(), root, medium)),
            staging: Staging::new(fs.clone(), root),
            guard: Guard::new(options.reserve),
            publisher: Publisher::new(fs.clone()),
            spoilt: Mutex::default(),
            root: root.to_owned(),
            medium,
            fs,
        };
        objects.staging.clean();
        let is_real = objects.fs.is_real();
        Self { objects: Arc::new(objects), listing: options.listing.unwrap_or(strong), is_real }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.objects.root
    }

    /// Whether nobody can tell that `put_new` was durable: the file system refused to sync a folder, or it is FUSE, which
    /// may say so without having done it.
    #[must_use]
    pub fn durability_unproven(&self) -> bool {
        self.objects.dirs.is_unproven()
    }

    /// The folder for files that `put_new` can take over, made if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn staging_dir(&self) -> Result<PathBuf> {
        let staging = &self.objects.staging;
        self.objects
            .dirs
            .make(&self.objects.root)
            .and_then(|()| staging.make())
            .map_err(|error| Error::io(staging.dir().display(), &error))?;
        Ok(staging.dir().to_owned())
    }

    /// Runs a call where it may block: on a thread for that if there is a runtime, else here.
    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Objects) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let objects = self.objects.clone();
        run_blocking(self.is_real, move || call(&objects)).await
    }
}

/// Costs some microseconds, against the milliseconds for which a disk can block; a simulated one is called directly.
async fn run_blocking<T: Send + 'static>(
    is_real: bool,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if is_real => match runtime.spawn_blocking(call).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(Error::new(ErrorKind::Other, "folder", error)),
            },
        },
        _ => call(),
    }
}

#[async_trait]
impl Store for FolderStore {
    async fn put_new(&self, key: &Key, body: Body) -> Result<()> {
        let key = key.clone();
        self.run(move |objects| objects.put_new(&key, &body)).await
    }

    async fn get_range(&self, key: &Key, range: ByteRange) -> Result<Bytes> {
        let key = key.clone();
        self.run(move |objects| objects.get_range(&key, range)).await
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<Listed>> {
        let begin = async move {
            let prefix = Prefix::new(prefix)?;
            let walk = self.run(move |o| Walk::new(o.fs.clone(), o.dirs.clone(), &o.root, &prefix)).await?;
            Ok(stream::unfold(Some(walk), |walk| self.batch(walk)))
        };
        let batches = stream::once(begin).flat_map(|begun| match begun {
            Ok(batches) => batches.left_stream(),
            Err(error) => stream::iter([vec![Err(error)]]).right_stream(),
        });
        batches.flat_map(stream::iter).boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let key = key.clone();
        self.run(move |objects| objects.delete(&key)).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            listing: self.listing,
            max_object: i64::MAX.unsigned_abs(),
            parallelism: 4,
            staging: self.is_real.then(|| self.objects.staging.dir().to_owned()),
            files: self.is_real.then(|| self.objects.root.clone()),
        }
    }

    async fn check_room(&self) -> Result<()> {
        self.run(Objects::check_room).await
    }

    async fn examine(&self, _: &Prefix) -> Result<Vec<Finding>> {
        self.run(|objects| Ok(objects.examine())).await
    }

    async fn remove_made_folders(&self) -> Result<Vec<String>> {
        self.run(|objects| {
            objects.staging.remove_empty();
            let removed = objects.dirs.remove_made();
            removed.map(|()| Vec::new()).map_err(|error| Error::io(objects.root.display(), &error))
        })
        .await
    }
}

impl FolderStore {
    /// The next names of a listing and what is left of it; `None` at the end.
    async fn batch(&self, walk: Option<Walk>) -> Option<(Vec<Result<Listed>>, Option<Walk>)> {
        let mut walk = walk?;
        let step = move || {
            let names = walk.next(BATCH);
            Ok((names, walk))
        };
        match run_blocking(self.is_real, step).await {
            Ok((names, _)) if names.is_empty() => None,
            Ok((names, walk)) => Some((names, Some(walk))),
            Err(error) => Some((vec![Err(error)], None)),
        }
    }
}
