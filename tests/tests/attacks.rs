//! Storage that lies or is stolen: each attack of THREATS.md that the format and the engine must withstand.
//!
//! A store is changed as somebody could who holds it, or who holds some of the keys too. Then: it is detected and named,
//! honest snapshots restore byte for byte, nothing hangs, nothing grows beyond its limits.

#[path = "attacks/bombs.rs"]
mod bombs;
#[path = "attacks/index.rs"]
mod index;
#[path = "attacks/maps.rs"]
mod maps;
#[path = "attacks/packs.rs"]
mod packs;
#[path = "attacks/snapshots.rs"]
mod snapshots;
#[path = "attacks/tombs.rs"]
mod tombs;
#[path = "attacks/trees.rs"]
mod trees;

use fardel_engine::check::{CheckReport, Class, Finding, Level};
use fardel_format::SnapshotId;
use fardel_format::keys::HostKey;
use fardel_format::sign::SigningKey;
use fardel_store::MemoryStore;
use fardel_tests::disk_tree::bytes;
use fardel_tests::vault::{Content, Vault, contents};

/// A vault with one honest snapshot.
struct Honest {
    vault: Vault,
    id: SnapshotId,
    content: Content,
}

impl Honest {
    fn new(name: &str) -> Self {
        Self::with_large(name, 1_500_000)
    }

    /// The same; its large file has so many bytes.
    fn with_large(name: &str, len: usize) -> Self {
        let vault = Vault::new(name);
        vault.write("source/text", b"an honest line\n");
        let large = vault.write("source/large", &bytes(name, len));
        let source = large.parent().unwrap();
        let id = vault.backup(&[source]);
        let content = contents(&[source]);
        Self { vault, id, content }
    }

    /// The honest snapshot restores byte for byte, whatever else lies in the store.
    fn restores(&self) {
        self.restores_from(&self.vault.store);
    }

    fn restores_from(&self, store: &MemoryStore) {
        let opened = self.vault.open_in(store, Some(self.vault.material())).unwrap();
        let restored = opened.restore(&self.id).unwrap();
        assert_eq!(restored.compare(&self.content), Ok(self.content.len()), "{:?}", restored.report);
    }

    fn check(&self, level: Level) -> CheckReport {
        self.vault.open().check(level).unwrap()
    }

    /// The one finding about an object.
    #[track_caller]
    fn finding(&self, level: Level, object: &str) -> Finding {
        let report = self.check(level);
        let found = report.errors.iter().find(|finding| finding.object == object);
        found.unwrap_or_else(|| panic!("{object} is not found: {report:#?}")).clone()
    }

    /// Whether a snapshot is listed.
    fn is_listed(&self, id: &SnapshotId) -> bool {
        self.vault.open().snapshots().unwrap().sealed.iter().any(|sealed| sealed.id() == *id)
    }
}

/// Somebody who knows the public recipient and the chunk keys, as a write-only host does, and no registered signer.
fn stranger(vault: &Vault) -> HostKey {
    HostKey { signing: SigningKey::generate().unwrap(), ..vault.host.clone() }
}

#[track_caller]
fn assert_forged(finding: &Finding, harmless: bool) {
    assert_eq!((finding.class, finding.harmless), (Class::Forged, harmless), "{finding:#?}");
}
