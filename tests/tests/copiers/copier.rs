//! A tool that copies a folder, and knows nothing of what is in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use fardel_tests::crash::chance::Chance;

use super::history::{History, Objects};

/// A copy as a copier left it.
pub struct Copy {
    /// Names of ours and others, with what is under them.
    pub objects: Objects,
    /// Of these only a beginning is there.
    pub torn: BTreeSet<String>,
    /// Names that are none of ours.
    pub strangers: BTreeSet<String>,
}

enum Step {
    Put(String),
    Delete(String),
}

impl Copy {
    pub fn make(history: &History, chance: &mut Chance) -> Self {
        let last = history.states.len() as u64;
        let mut at = chance.below(last) as usize;
        // Seldom from nothing, often from a copy that was whole once.
        let objects = if chance.one_in(4) { Objects::new() } else { history.states[at].clone() };
        let mut copy = Self { objects, torn: BTreeSet::new(), strangers: BTreeSet::new() };
        for _ in 0..=chance.below(3) {
            at = (at + chance.below(last) as usize).min(history.states.len() - 1);
            copy.round(history, &history.states[at], chance);
        }
        if chance.one_in(6) {
            copy.brings_back(history, chance);
        }
        copy.litter(chance);
        copy
    }

    /// Goes towards a state of the source, and stops anywhere.
    fn round(&mut self, history: &History, source: &Objects, chance: &mut Chance) {
        let is_put = |name: &&String| self.objects.get(*name) != source.get(*name);
        let mut puts: Vec<String> = source.keys().filter(is_put).cloned().collect();
        match chance.below(5) {
            0 => puts.sort(),
            1 => puts.sort_by_key(|name| history.age.get(name)),
            2 => puts.sort_by_key(|name| std::cmp::Reverse(history.age.get(name).copied())),
            _ => shuffle(&mut puts, chance),
        }
        let mut steps: Vec<Step> = puts.into_iter().map(Step::Put).collect();
        let gone: Vec<_> = self.objects.keys().filter(|name| !source.contains_key(*name)).cloned().collect();
        let deletes = gone.into_iter().filter(|name| !self.strangers.contains(name)).map(Step::Delete);
        match chance.below(4) {
            0 => steps = deletes.chain(steps).collect(),
            1 => steps.extend(deletes),
            2 => {
                steps.extend(deletes);
                shuffle(&mut steps, chance);
            }
            _ => {}
        }
        let end = match chance.below(3) {
            0 => steps.len(),
            1 => steps.len().saturating_sub(chance.below(4) as usize),
            _ => chance.below(steps.len() as u64 + 1) as usize,
        };
        let fails = chance.one_in(4);
        let tears = chance.one_in(3);
        for (i, step) in steps.iter().enumerate().take(end) {
            match step {
                Step::Delete(name) => {
                    self.objects.remove(name);
                    self.torn.remove(name);
                }
                // One that cannot be read just now holds nothing else up.
                Step::Put(_) if fails && chance.one_in(8) => {}
                Step::Put(name) if tears && (i + 1 == end || chance.one_in(10)) => {
                    self.tear(name, &source[name], chance);
                }
                Step::Put(name) => {
                    self.objects.insert(name.clone(), source[name].clone());
                    self.torn.remove(name);
                }
            }
        }
    }

    fn tear(&mut self, name: &str, bytes: &Bytes, chance: &mut Chance) {
        let half = bytes.slice(..chance.below(bytes.len() as u64) as usize);
        if chance.one_in(3) {
            // Under a temporary name, as the better ones do.
            let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
            let temporary = match chance.below(3) {
                0 => format!(".syncthing.{file}.tmp"),
                1 => format!("{file}.1f2e3d4c.partial"),
                _ => format!(".{file}.Ab3dE9"),
            };
            let place = if folder.is_empty() { temporary } else { format!("{folder}/{temporary}") };
            self.strangers.insert(place.clone());
            self.objects.insert(place, half);
        } else {
            self.torn.insert(name.to_owned());
            self.objects.insert(name.to_owned(), half);
        }
    }

    /// Objects of older states that were deleted come back.
    fn brings_back(&mut self, history: &History, chance: &mut Chance) {
        for (name, bytes) in &history.all {
            if !self.objects.contains_key(name) && chance.one_in(4) {
                self.objects.insert(name.clone(), bytes.clone());
            }
        }
    }

    /// What the tools leave lying about: copies of conflicts, folders and files of their own.
    fn litter(&mut self, chance: &mut Chance) {
        let names: Vec<_> = self.objects.keys().cloned().collect();
        for _ in 0..chance.below(4) {
            if names.is_empty() {
                break;
            }
            let name = chance.pick(&names).clone();
            let bytes = self.objects[&name].clone();
            let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, "x"));
            let conflict = match chance.below(4) {
                0 => format!("{stem}.sync-conflict-20261125-120000-ABCDEFG.{extension}"),
                1 => format!("{stem} (Ann's conflicted copy 2026-11-25).{extension}"),
                2 => format!("{name} (1)"),
                _ => format!("{stem}_conflict-20261125-120000.{extension}"),
            };
            self.strangers.insert(conflict.clone());
            self.objects.insert(conflict, bytes);
        }
        for name in [".stfolder/marker", ".stversions/packs/x~1.age", "desktop.ini", "packs/.DS_Store"] {
            if chance.one_in(8) {
                self.strangers.insert(name.to_owned());
                self.objects.insert(name.to_owned(), Bytes::from_static(b"?"));
            }
        }
    }

    /// Writes the copy as files. What is torn and large is a placeholder at times: all of the size, and a beginning of the bytes.
    pub fn write_into(&self, history: &History, folder: &Path, chance: &mut Chance) {
        for (name, bytes) in &self.objects {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = fs::File::create(&path).unwrap();
            std::io::Write::write_all(&mut &file, bytes).unwrap();
            if self.torn.contains(name) && chance.one_in(2) {
                // At least a block is missing, and the file large enough to be doubted.
                let size = history.all[name].len();
                if size >= 64 << 10 && bytes.len().next_multiple_of(4096) < size {
                    file.set_len(size as u64).unwrap();
                }
            }
        }
    }
}

fn shuffle<T>(all: &mut [T], chance: &mut Chance) {
    for i in (1..all.len()).rev() {
        all.swap(i, chance.below(i as u64 + 1) as usize);
    }
}
