//! Index segments that were fetched before, few files however many they were: small runs are merged into larger ones.
//!
//! A file `<hash>.own` or `<hash>.run` is one segment, by this host or another. `merged-<hash>.own` or `.run` holds the
//! segments that `merged-<hash>.members` names, and that file has that hash.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use fardel_format::ObjectHash;

use super::merge::merge;
use super::run::Run;
use crate::Result;

/// So many runs of one kind are left apart.
const FEW: usize = 8;

struct Kept {
    path: PathBuf,
    members: Vec<ObjectHash>,
    run: Run,
}

/// The local copies of index segments.
pub struct SegmentCache {
    folder: PathBuf,
    kept: Vec<Kept>,
    held: HashSet<ObjectHash>,
}

impl SegmentCache {
    /// Opens what is whole in the folder; what is not is fetched again.
    pub fn open(folder: PathBuf) -> Self {
        let mut cache = Self { kept: Vec::new(), held: HashSet::new(), folder };
        let names = std::fs::read_dir(&cache.folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for name in names.collect::<Vec<_>>() {
            cache.open_one(&name);
        }
        cache
    }

    fn open_one(&mut self, name: &str) -> Option<()> {
        let (stem, own) = match name.rsplit_once('.')? {
            (stem, "own") => (stem, true),
            (stem, "run") => (stem, false),
            _ => return None,
        };
        let members = match stem.strip_prefix("merged-") {
            None => vec![stem.parse().ok()?],
            Some(hash) => {
                let text = std::fs::read(self.folder.join(format!("{stem}.members"))).ok()?;
                (ObjectHash::of(&text).to_string() == hash).then_some(())?;
                std::str::from_utf8(&text)
                    .ok()?
                    .lines()
                    .map(|line| line.parse().ok())
                    .collect::<Option<Vec<_>>>()?
            }
        };
        let path = self.folder.join(name);
        let run = Run::open(&path, own)?;
        self.held.extend(members.iter().copied());
        self.kept.push(Kept { path, members, run });
        Some(())
    }

    /// Whether this segment is here.
    pub fn holds(&self, hash: &ObjectHash) -> bool {
        self.held.contains(hash)
    }

    /// Keeps a segment that was fetched.
    pub fn add(&mut self, hash: ObjectHash, segment: Vec<u8>, own: bool) -> Result<()> {
        let path = self.folder.join(format!("{hash}.{}", ending(own)));
        let run = Run::save(&path, segment, own)?;
        self.held.insert(hash);
        self.kept.push(Kept { path, members: vec![hash], run });
        Ok(())
    }

    /// All runs, few of them.
    pub fn into_runs(mut self) -> impl Iterator<Item = Run> {
        for own in [true, false] {
            self.merge_small(own);
        }
        self.kept.into_iter().map(|kept| kept.run)
    }

    /// Merges the smallest runs until each that stays apart is larger than all smaller ones together.
    fn merge_small(&mut self, own: bool) -> Option<()> {
        let (mut group, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.kept).into_iter().partition(|kept| kept.run.own == own);
        self.kept = others;
        group.sort_by_key(|kept| records(&kept.run));
        if group.len() > FEW {
            let mut sum = 0;
            let together = group.iter().take_while(|kept| {
                let fits = sum == 0 || records(&kept.run) <= sum * 2;
                sum += records(&kept.run);
                fits
            });
            let together = together.count().max(2);
            if let Some(merged) = self.merged(&group[..together], own) {
                for old in group.drain(..together) {
                    // A mapped file may lose its name.
                    let _ = std::fs::remove_file(&old.path);
                    let _ = std::fs::remove_file(old.path.with_extension("members"));
                }
                group.push(merged);
            }
        }
        self.kept.append(&mut group);
        Some(())
    }

    fn merged(&self, group: &[Kept], own: bool) -> Option<Kept> {
        let mut members: Vec<_> = group.iter().flat_map(|kept| kept.members.iter().copied()).collect();
        members.sort_unstable();
        members.dedup();
        let text: String = members.iter().map(|hash| format!("{hash}\n")).collect();
        let stem = format!("merged-{}", ObjectHash::of(text.as_bytes()));
        write_members(&self.folder.join(format!("{stem}.members")), &text).ok()?;
        let path = self.folder.join(format!("{stem}.{}", ending(own)));
        let views = group.iter().map(|kept| kept.run.view()).collect::<Result<Vec<_>, _>>().ok()?;
        let run = Run::write(&path, own, |mut out| merge(&views, |_| true, &mut out))?;
        Some(Kept { path, members, run })
    }
}

fn records(run: &Run) -> u64 {
    run.view().map_or(0, |view| view.counts().records)
}

fn ending(own: bool) -> &'static str {
    if own { "own" } else { "run" }
}

fn write_members(path: &Path, text: &str) -> std::io::Result<()> {
    // Its hash is in its name: a torn one is not taken.
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use fardel_format::frame::Member;
    use fardel_format::pack::{FrameSpan, PackKind, Toc};
    use fardel_format::{ChunkId, segment};

    use super::*;

    #[test]
    fn many_segments_become_few_files_and_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let id = |i: u32| ChunkId(*blake3::hash(&i.to_le_bytes()).as_bytes());
        let total = 200;
        for i in 0..total {
            let member = Member { id: id(i), offset: 512, len: 9 };
            let span = FrameSpan { offset: 0, stored: 50, plain: 1024 };
            let toc = Toc { kind: PackKind::Data, frames: vec![(span, vec![member])] };
            let pack = ObjectHash([i as u8; 32]);
            let plain = segment::build([(pack, u64::from(i), &toc)]);
            let mut cache = SegmentCache::open(folder.path().to_owned());
            assert!((0..i).all(|j| cache.holds(&ObjectHash([j as u8; 32]))), "forgot a segment at {i}");
            cache.add(pack, plain, true).unwrap();
            drop(cache.into_runs());
        }
        let mut runs: Vec<_> = SegmentCache::open(folder.path().to_owned()).into_runs().collect();
        assert!(runs.len() <= 2 * FEW, "{} runs", runs.len());
        runs.iter_mut().for_each(|run| run.mark_usable(|_| true).unwrap());
        for i in 0..total {
            let found = runs.iter().find_map(|run| run.locate(&id(i)).next()).expect("every chunk is found");
            assert_eq!(found.pack.size, u64::from(i));
        }
        assert!(std::fs::read_dir(folder.path()).unwrap().count() <= 4 * FEW);
    }
}
