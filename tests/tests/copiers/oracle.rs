//! What is whole in a copy, from the objects themselves: no code of the reader is used for it.

use std::collections::{BTreeMap, BTreeSet};

use fardel_format::SnapshotId;
use serde_json::Value;

use super::history::{History, Objects};

/// What a copy holds.
pub struct Truth {
    /// Whether the card is there with all its bytes.
    pub has_card: bool,
    /// Whether every key file is: without them no key opens anything, and no manifest says which there are.
    pub has_keys: bool,
    /// Whether every record of signers is, and every tomb with its signature: else it is not said which snapshots exist.
    pub knows_signers: bool,
    /// Snapshots of which every byte is there, forgotten ones too.
    pub all_there: BTreeSet<SnapshotId>,
    /// Those of them that exist.
    pub whole: BTreeSet<SnapshotId>,
    /// Snapshots that exist, and lack something.
    pub incomplete: BTreeSet<SnapshotId>,
    /// The newest of the whole ones.
    pub newest_whole: Option<SnapshotId>,
    /// How many incomplete ones are newer than that.
    pub newer_incomplete: u64,
    /// Seals without the manifest.
    pub bare_seals: u64,
    /// What the incomplete ones lack, with the bytes that it must have; unknown when a list is missing.
    pub missing: Option<BTreeMap<String, u64>>,
    /// Texts that were cut at the end of a line, so that nobody can tell.
    pub cut_at_a_line: BTreeSet<String>,
}

/// A snapshot as its manifest tells.
struct Snapshot {
    id: SnapshotId,
    created: String,
    needs: BTreeSet<String>,
    lists: BTreeSet<String>,
}

impl Truth {
    pub fn of(history: &History, copy: &Objects) -> Self {
        let is_whole = |name: &String| copy.get(name).is_some_and(|bytes| *bytes == history.all[name]);
        let all_of = |prefix: &str| history.all.keys().filter(|name| name.starts_with(prefix)).all(is_whole);
        // A tomb that has not come yet, or half of it: then what it forgets exists.
        let tomb_halves = history.all.keys().filter(|name| name.starts_with("tombs/"));
        let (here, gone): (Vec<_>, Vec<_>) = tomb_halves.partition(|name| copy.contains_key(*name));
        let tombs_known = here.is_empty() || (gone.is_empty() && here.iter().all(|name| is_whole(name)));
        let forgotten = if here.is_empty() { BTreeSet::new() } else { forgotten(&history.all) };
        let mut truth = Self {
            has_card: copy.get("fardel.json") == history.all.get("fardel.json"),
            has_keys: all_of("keys/"),
            knows_signers: all_of("signers/") && tombs_known,
            all_there: BTreeSet::new(),
            whole: BTreeSet::new(),
            incomplete: BTreeSet::new(),
            newest_whole: None,
            newer_incomplete: 0,
            bare_seals: 0,
            missing: Some(BTreeMap::new()),
            cut_at_a_line: BTreeSet::new(),
        };
        for (name, bytes) in copy {
            let is_text = [".json", ".minisig", ".txt"].iter().any(|end| name.ends_with(end));
            let cut = history.all.get(name).is_some_and(|whole| whole != bytes);
            if is_text && cut && bytes.last().is_some_and(|byte| !(b' '..=b'~').contains(byte)) {
                truth.cut_at_a_line.insert(name.clone());
            }
        }
        let mut snapshots = Vec::new();
        for seal in history.all.keys().filter(|name| name.starts_with("seals/")) {
            let manifest = seal.replace("seals/", "manifests/").replace(".minisig", ".json");
            if copy.contains_key(seal) && !copy.contains_key(&manifest) {
                truth.bare_seals += 1;
            }
            if is_whole(seal) && is_whole(&manifest) {
                snapshots.push(read(&history.all, &manifest));
            }
        }
        let complete = snapshots.iter().filter(|snapshot| snapshot.needs.iter().all(is_whole));
        truth.all_there = complete.map(|snapshot| snapshot.id).collect();
        snapshots.retain(|snapshot| !forgotten.contains(&snapshot.id));
        snapshots.sort_by(|a, b| a.created.cmp(&b.created));
        for snapshot in &snapshots {
            truth.add(history, copy, snapshot);
        }
        truth
    }

    fn add(&mut self, history: &History, copy: &Objects, snapshot: &Snapshot) {
        let is_whole = |name: &&String| copy.get(*name).is_some_and(|bytes| *bytes == history.all[*name]);
        if snapshot.needs.iter().all(|name| is_whole(&name)) {
            self.whole.insert(snapshot.id);
            self.newest_whole = Some(snapshot.id);
            self.newer_incomplete = 0;
            return;
        }
        self.incomplete.insert(snapshot.id);
        self.newer_incomplete += 1;
        if !snapshot.lists.iter().all(|name| is_whole(&name)) {
            self.missing = None;
        }
        let Some(missing) = &mut self.missing else { return };
        for name in snapshot.needs.iter().filter(|name| !is_whole(name)) {
            missing.insert(name.clone(), history.all[name].len() as u64);
        }
    }
}

/// What the snapshots other than this one need; and everything that is no snapshot's.
pub fn needed_by_others(objects: &Objects, id: &SnapshotId) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    for name in objects.keys() {
        let kept = ["packs/", "lists/", "roots/", "manifests/", "seals/"];
        if !kept.iter().any(|prefix| name.starts_with(prefix)) {
            needed.insert(name.clone());
        }
        if name.starts_with("manifests/") {
            let snapshot = read(objects, name);
            if snapshot.id != *id {
                needed.extend(snapshot.needs);
                needed.insert(name.clone());
                needed.insert(name.replace("manifests/", "seals/").replace(".json", ".minisig"));
            }
        }
    }
    needed
}

fn read(objects: &Objects, manifest: &str) -> Snapshot {
    let json: Value = serde_json::from_slice(&objects[manifest]).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let root = format!("roots/{}.json.zst.age", text(&json["root"]["hash"]));
    let (mut needs, mut lists) = (BTreeSet::from([root]), BTreeSet::new());
    for list in json["lists"].as_array().unwrap() {
        let name = format!("lists/{}.txt", text(&list["hash"]));
        let marked = base64(&text(&list["packs"]));
        let lines = std::str::from_utf8(&objects[&name]).unwrap().lines();
        for (i, line) in lines.enumerate() {
            if (marked[i / 8] >> (i % 8)) & 1 == 1 {
                let (hash, size) = line.split_once(' ').unwrap();
                let pack = format!("packs/{hash}.tar.zst.age");
                assert_eq!(objects[&pack].len().to_string(), size);
                needs.insert(pack);
            }
        }
        needs.insert(name.clone());
        lists.insert(name);
    }
    Snapshot { id: text(&json["snapshot"]).parse().unwrap(), created: text(&json["created"]), needs, lists }
}

/// What all tombs together forget.
fn forgotten(objects: &Objects) -> BTreeSet<SnapshotId> {
    let tombs = objects.iter().filter(|(name, _)| name.starts_with("tombs/") && name.ends_with(".json"));
    let mut forgotten = BTreeSet::new();
    for (_, bytes) in tombs {
        let json: Value = serde_json::from_slice(bytes).unwrap();
        let ids = json["takes"]["snapshots"].as_array().into_iter().flatten();
        forgotten.extend(ids.map(|id| id.as_str().unwrap().parse::<SnapshotId>().unwrap()));
    }
    forgotten
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in text.bytes().filter(|byte| *byte != b'=') {
        bits = (bits << 6) | DIGITS.iter().position(|known| *known == digit).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
