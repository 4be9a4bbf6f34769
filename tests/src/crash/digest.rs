//! States in short: two with the same digest hold the same, so that one look at them is enough.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use blake3::{Hash, Hasher};
use bytes::Bytes;
use fardel_backends::folder::Visible;

/// What a medium holds, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digests {
    /// Everything, temporaries included.
    pub whole: Hash,
    /// The repository: what its next user finds, and whether it is durable.
    pub objects: Hash,
}

/// Hashes of contents that were seen; states share most of theirs.
#[derive(Debug, Default)]
pub struct Hashes {
    files: HashMap<usize, (Arc<Vec<u8>>, Hash)>,
    objects: HashMap<(usize, usize), (Bytes, Hash)>,
}

impl Hashes {
    /// Of objects in memory, which come in the order of their names.
    #[must_use]
    pub fn of_objects(&mut self, objects: impl Iterator<Item = (String, Bytes)>) -> Digests {
        let mut hasher = Hasher::new();
        for (name, bytes) in objects {
            let at = (bytes.as_ptr() as usize, bytes.len());
            // What is remembered is held, so that nothing else comes to lie there.
            let (_, hash) = self.objects.entry(at).or_insert_with(|| (bytes.clone(), blake3::hash(&bytes)));
            add(&mut hasher, name.as_bytes(), hash, true);
        }
        let objects = hasher.finalize();
        Digests { whole: objects, objects }
    }

    /// Of files, which come in the order of their paths; those below `root` are the repository.
    #[must_use]
    pub fn of_files(&mut self, files: Vec<Visible>, root: &Path) -> Digests {
        let (mut whole, mut objects) = (Hasher::new(), Hasher::new());
        for Visible { path, bytes, durable } in files {
            let at = Arc::as_ptr(&bytes) as usize;
            let (_, hash) = self.files.entry(at).or_insert_with(|| (bytes.clone(), blake3::hash(&bytes)));
            let name = path.as_os_str().as_encoded_bytes();
            add(&mut whole, name, hash, durable);
            if path.starts_with(root) && !is_temporary(&path) {
                add(&mut objects, name, hash, durable);
            }
        }
        Digests { whole: whole.finalize(), objects: objects.finalize() }
    }

    /// Forgets contents when it holds very many.
    pub fn relieve(&mut self) {
        if self.files.len() + self.objects.len() > 10_000 {
            *self = Self::default();
        }
    }
}

/// Whether a file is one that the folder store makes and removes; they lie beside the repository or in a folder of it.
#[must_use]
pub fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

fn add(hasher: &mut Hasher, name: &[u8], hash: &Hash, durable: bool) {
    hasher.update(&(name.len() as u64).to_le_bytes()).update(name);
    hasher.update(hash.as_bytes()).update(&[u8::from(durable)]);
}
