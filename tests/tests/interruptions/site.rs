use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fardel_backends::folder::FolderStore;
use fardel_engine::catalog::Catalog;
use fardel_engine::{OpenOptions, Repository};
use fardel_store::Store;
use fardel_tests::crash::Result;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::machine::{Ended, Machine};

use crate::server::{Server, Via};

/// A machine with a repository that is carried elsewhere.
pub struct Site {
    machine: Machine,
    /// Snapshots, oldest first: the id, and the files that were saved.
    snapshots: Vec<(String, BTreeMap<String, Vec<u8>>)>,
    /// Every object of the repository.
    pub objects: BTreeMap<String, Vec<u8>>,
}

/// What is saved, in KB, one snapshot after the other: so that objects in several parts and many small ones come in turn.
const SIZES: [&[usize]; 8] =
    [&[18_000, 40], &[90, 4], &[300], &[9_500, 2], &[1], &[700, 30], &[60], &[200, 200]];

impl Site {
    pub fn new(seed: u64) -> Result<Self> {
        let words = |e: std::io::Error| e.to_string();
        let machine = Machine::new("interruptions", "compression: 1\n").map_err(words)?;
        let netrc = machine.path("home/.netrc");
        fs::write(&netrc, crate::server::netrc()).map_err(words)?;
        fs::set_permissions(&netrc, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(words)?;
        machine.succeed(&["init", "--recovery-file", "recovery"])?;
        let mut snapshots = Vec::new();
        for (number, sizes) in SIZES.iter().enumerate() {
            let mut chance = Chance::of(seed, "version", number as u64);
            let mut files = BTreeMap::from([("same".to_owned(), Chance::of(seed, "same", 0).bytes(50_000))]);
            files.extend(sizes.iter().enumerate().map(|(n, kb)| (n.to_string(), chance.bytes(kb * 1_000))));
            let folder = machine.path("src");
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).map_err(words)?;
            for (name, bytes) in &files {
                fs::write(folder.join(name), bytes).map_err(words)?;
            }
            let saved = machine.succeed(&["backup", "src", "--host", "machine"])?;
            let id = saved["snapshot_id"].as_str().ok_or("a summary without a snapshot")?;
            snapshots.push((id.to_owned(), files));
        }
        let mut objects = BTreeMap::new();
        read_below(&machine.path("repo"), "", &mut objects).map_err(words)?;
        Ok(Self { machine, snapshots, objects })
    }

    /// Bytes of all that is carried.
    pub fn bytes(&self) -> u64 {
        self.objects.values().map(|object| object.len() as u64).sum()
    }

    /// The largest object, in bytes.
    pub fn largest(&self) -> u64 {
        self.objects.values().map(|object| object.len() as u64).max().unwrap_or_default()
    }

    /// How many snapshots there are up to this one; 0 for none.
    pub fn rank(&self, id: Option<&str>) -> Result<usize> {
        let Some(id) = id else { return Ok(0) };
        let at = self.snapshots.iter().position(|(known, _)| id.starts_with(known.as_str()));
        at.map(|at| at + 1).ok_or_else(|| format!("nobody saved a snapshot {id}"))
    }

    /// How many snapshots there are.
    pub fn snapshots(&self) -> usize {
        self.snapshots.len()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.machine.path(name)
    }

    /// The repository, opened without a key.
    pub fn open(&self) -> Result<(Repository, Catalog)> {
        let store = FolderStore::open(&self.machine.path("repo")).map_err(|e| e.to_string())?;
        self.open_in(Arc::new(store))
    }

    /// The repository that lies in another store, opened without a key.
    pub fn open_in(&self, store: Arc<dyn Store>) -> Result<(Repository, Catalog)> {
        let cache = self.machine.path("cache");
        let options = OpenOptions { material: None, cache, display: "copy".into(), pinned: None };
        Repository::open(store, options).map_err(|e| e.to_string())
    }

    /// The command on this machine, with what it needs to reach a server.
    pub fn command(&self, server: &Server, arguments: &[&str]) -> Command {
        let mut command = self.machine.command(arguments);
        command.envs(server.environment());
        command
    }

    /// Restores a snapshot from a replica by the command, and compares every file.
    pub fn restore(&self, server: &Server, replica: &str, rank: usize) -> Result {
        let (id, files) = rank.checked_sub(1).and_then(|at| self.snapshots.get(at)).ok_or("no snapshot")?;
        let target = fardel_tests::disk_tree::temporary_folder("restored");
        let url = server.url(Via::Directly, replica);
        let source = format!("{id}:{}", self.machine.path("src").display());
        let out = target.path().join("out");
        let mut command = self.command(server, &["restore", &source, "--repo", &url]);
        let ended = Ended::of(command.arg("--target").arg(&out).output().map_err(|e| e.to_string())?);
        if ended.code != Some(0) {
            return Err(format!("the restore of {id} ended with {:?}: {}", ended.code, ended.told()));
        }
        let mut found = BTreeMap::new();
        read_below(&out, "", &mut found).map_err(|e| e.to_string())?;
        if found == *files { Ok(()) } else { Err(format!("{id} restores otherwise")) }
    }
}

/// All files below a folder, by their path.
fn read_below(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_below(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}
