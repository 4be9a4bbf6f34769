use std::path::PathBuf;
use std::sync::Arc;

use fardel_backends::Secret;
use fardel_backends::folder::FolderStore;
use fardel_backends::s3::{S3Options, S3Store};
use fardel_store::{Retrying, Store};
use fardel_tests::crash::Result;
use fardel_tests::crash::machine::Machine;
use fardel_tests::disk_tree::temporary_folder;
use fardel_tests::servers::Ceph;
use tempfile::TempDir;

const BUCKET: &str = "crowd";

/// Where repositories lie, and their replicas.
pub enum Place {
    Folder(TempDir),
    Ceph(Arc<Ceph>),
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Primary(u64),
    Replica(u64),
}

impl Place {
    pub fn folder() -> Self {
        Self::Folder(temporary_folder("crowd"))
    }

    pub fn ceph(ceph: Arc<Ceph>) -> Self {
        let _ = ceph.make_bucket(BUCKET);
        Self::Ceph(ceph)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Folder(_) => "a crowd in a folder",
            Self::Ceph(_) => "a crowd on Ceph",
        }
    }

    /// Rounds in one repository. Each forget and each prune adds a tomb that everybody reads from then on, so that requests which take
    /// their time soon take all of it.
    pub fn rounds(&self) -> u64 {
        match self {
            Self::Folder(_) => 8,
            Self::Ceph(_) => 3,
        }
    }

    /// How often a collector may go on in a round, for the same reason.
    pub fn turns(&self) -> usize {
        match self {
            Self::Folder(_) => usize::MAX,
            Self::Ceph(_) => 2,
        }
    }

    /// Whether it refuses clocks that are far off.
    pub fn asks_for_the_time(&self) -> bool {
        matches!(self, Self::Ceph(_))
    }

    /// Where a repository lies on a disk of this machine, to see what appears there.
    pub fn disk(&self, side: Side) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.path().join(side.to_string())),
            Self::Ceph(_) => None,
        }
    }

    /// How the command names it.
    pub fn url(&self, side: Side) -> String {
        match self {
            Self::Folder(folder) => folder.path().join(side.to_string()).display().to_string(),
            Self::Ceph(ceph) => {
                format!("s3://{BUCKET}/{side}?endpoint=http://127.0.0.1:{}&region=us-east-1", ceph.port())
            }
        }
    }

    /// Tells a machine where its repository is, and how to get there.
    pub fn tell(&self, machine: &mut Machine, number: u64) {
        machine.set("FARDEL_REPOSITORY", self.url(Side::Primary(number)));
        if let Self::Ceph(_) = self {
            machine.set("AWS_ACCESS_KEY_ID", Ceph::KEY);
            machine.set("AWS_SECRET_ACCESS_KEY", Ceph::SECRET);
        }
    }

    /// The store, for whoever judges.
    pub fn store(&self, side: Side) -> Result<Arc<dyn Store>> {
        match self {
            Self::Folder(folder) => {
                let store = FolderStore::open(&folder.path().join(side.to_string()));
                store.map(|store| Arc::new(store) as Arc<dyn Store>).map_err(|e| e.to_string())
            }
            Self::Ceph(ceph) => {
                let options = S3Options {
                    endpoint: Some(ceph.url()),
                    region: Some("us-east-1".into()),
                    keys: Some((Ceph::KEY.into(), Secret::from(Ceph::SECRET.to_owned()))),
                    ..S3Options::new(BUCKET, &side.to_string())
                };
                let store = S3Store::open(&options).map_err(|e| e.to_string())?;
                Ok(Arc::new(Retrying::new(store)))
            }
        }
    }

    /// Makes room.
    pub fn remove(&self, number: u64) {
        for side in [Side::Primary(number), Side::Replica(number)] {
            if let Some(folder) = self.disk(side) {
                let _ = std::fs::remove_dir_all(folder);
            }
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Primary(number) => write!(f, "primary-{number}"),
            Self::Replica(number) => write!(f, "replica-{number}"),
        }
    }
}
