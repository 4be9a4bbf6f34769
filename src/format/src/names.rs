//! The grammar of object names. What does not match it is a stranger: ignored and counted, never an error.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, Nonce, ObjectHash, WriterId};

/// The name of the card.
pub const CARD: &str = "fardel.json";

/// An object's name, parsed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// `fardel.json`.
    Card,
    /// `acks/<replica>/<seq>-<hash>.json`
    Ack(String, Numbered),
    /// `index/<hash>.idx.age`
    Index(ObjectHash),
    /// `intents/<random>.json`
    Intent(Nonce),
    /// `keys/<hash>.age`
    Keys(ObjectHash),
    /// `lists/<hash>.txt`
    List(ObjectHash),
    /// `manifests/<writer>/<seq>-<hash>.json`
    Manifest(WriterId, Numbered),
    /// `packs/<hash>[-<gen>].tar.zst.age`
    Pack(ObjectHash, Option<Generation>),
    /// `roots/<hash>.json.zst.age`
    Root(ObjectHash),
    /// `seals/<writer>/<seq>-<hash>.minisig`
    Seal(WriterId, Numbered),
    /// `signers/<seq>-<hash>.json`
    Signers(Numbered),
    /// `signers/<seq>-<hash>.minisig`
    SignersSig(Numbered),
    /// `tombs/<writer>/<seq>-<hash>.json`
    Tomb(WriterId, Numbered),
    /// `tombs/<writer>/<seq>-<hash>.minisig`
    TombSig(WriterId, Numbered),
}

/// `<seq>-<hash>`: eight digits, then the hash of the object (of the signed object, for a signature).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Numbered {
    /// One more than the largest listed or remembered.
    pub seq: u32,
    /// BLAKE3 of the stored bytes.
    pub hash: ObjectHash,
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-{}", self.seq, self.hash)
    }
}

impl Numbered {
    /// The largest number that eight digits hold.
    pub const MAX_SEQ: u32 = 99_999_999;

    /// Reads `seq-hash`; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once('-')?;
        if seq.len() != 8 || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self { seq: seq.parse().ok()?, hash: hash.parse().ok()? })
    }
}

/// A pack in one generation, as tombs and intents name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackName {
    /// The pack.
    pub hash: ObjectHash,
    /// Absent at first writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
}

/// How many two-digit folders stand between the kind's folder and the file: 0, 1 or 2.
///
/// The writer chooses so that no folder passes about 4,096 files; readers take any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanOut(u8);

impl FanOut {
    /// No folders in between.
    pub const FLAT: Self = Self(0);

    /// The depth that suits a folder which is to hold `objects` objects.
    #[must_use]
    pub fn for_count(objects: u64) -> Self {
        match objects {
            0..=4_000 => Self(0),
            4_001..=1_000_000 => Self(1),
            _ => Self(2),
        }
    }

    fn folders(self, hash: &ObjectHash) -> String {
        (0..usize::from(self.0)).map(|i| format!("{:02x}/", hash.0[i])).collect()
    }
}

impl Name {
    /// Parses a name as a listing shows it; `None` for a stranger.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == CARD {
            return Some(Self::Card);
        }
        let (kind, rest) = name.split_once('/')?;
        match kind {
            "acks" => {
                let (replica, rest) = rest.split_once('/')?;
                if !is_replica_name(replica) {
                    return None;
                }
                Some(Self::Ack(replica.into(), numbered(rest, ".json")?))
            }
            "index" => Some(Self::Index(hashed(rest, ".idx.age")?)),
            "intents" => Some(Self::Intent(rest.strip_suffix(".json")?.parse().ok()?)),
            "keys" => Some(Self::Keys(hashed(rest, ".age")?)),
            "lists" => Some(Self::List(hashed(rest, ".txt")?)),
            "roots" => Some(Self::Root(hashed(rest, ".json.zst.age")?)),
            "packs" => pack(rest),
            "manifests" => {
                let (writer, rest) = writer(rest)?;
                Some(Self::Manifest(writer, numbered(rest, ".json")?))
            }
            "seals" => {
                let (writer, rest) = writer(rest)?;
                Some(Self::Seal(writer, numbered(rest, ".minisig")?))
            }
            "signers" => match rest.ends_with(".json") {
                true => Some(Self::Signers(numbered(rest, ".json")?)),
                false => Some(Self::SignersSig(numbered(rest, ".minisig")?)),
            },
            "tombs" => {
                let (writer, rest) = writer(rest)?;
                match rest.ends_with(".json") {
                    true => Some(Self::Tomb(writer, numbered(rest, ".json")?)),
                    false => Some(Self::TombSig(writer, numbered(rest, ".minisig")?)),
                }
            }
            _ => None,
        }
    }

    /// The key under which the object is stored.
    #[must_use]
    pub fn key(&self, fan_out: FanOut) -> String {
        match self {
            Self::Card => CARD.into(),
            Self::Ack(replica, n) => format!("acks/{replica}/{}{n}.json", fan_out.folders(&n.hash)),
            Self::Index(hash) => format!("index/{}{hash}.idx.age", fan_out.folders(hash)),
            Self::Intent(nonce) => format!("intents/{nonce}.json"),
            Self::Keys(hash) => format!("keys/{hash}.age"),
            Self::List(hash) => format!("lists/{}{hash}.txt", fan_out.folders(hash)),
            Self::Manifest(writer, n) => format!("manifests/{writer}/{}{n}.json", fan_out.folders(&n.hash)),
            Self::Pack(hash, None) => format!("packs/{}{hash}.tar.zst.age", fan_out.folders(hash)),
            Self::Pack(hash, Some(g)) => format!("packs/{}{hash}-{g}.tar.zst.age", fan_out.folders(hash)),
            Self::Root(hash) => format!("roots/{}{hash}.json.zst.age", fan_out.folders(hash)),
            Self::Seal(writer, n) => format!("seals/{writer}/{}{n}.minisig", fan_out.folders(&n.hash)),
            Self::Signers(n) => format!("signers/{n}.json"),
            Self::SignersSig(n) => format!("signers/{n}.minisig"),
            Self::Tomb(writer, n) => format!("tombs/{writer}/{}{n}.json", fan_out.folders(&n.hash)),
            Self::TombSig(writer, n) => format!("tombs/{writer}/{}{n}.minisig", fan_out.folders(&n.hash)),
        }
    }

    /// The hash that the stored bytes must have; `None` where the name carries none of its own bytes (card, signatures, intents).
    #[must_use]
    pub fn content_hash(&self) -> Option<ObjectHash> {
        match self {
            Self::Index(h) | Self::Keys(h) | Self::List(h) | Self::Root(h) | Self::Pack(h, _) => Some(*h),
            Self::Manifest(_, n) | Self::Tomb(_, n) | Self::Signers(n) | Self::Ack(_, n) => Some(n.hash),
            Self::Card | Self::Intent(_) | Self::Seal(..) | Self::SignersSig(_) | Self::TombSig(..) => None,
        }
    }
}

/// Whether this can name a replica: 1 to 32 of `[0-9a-z-]`, and no name that Windows keeps for devices.
#[must_use]
pub fn is_replica_name(name: &str) -> bool {
    let fits = (1..=32).contains(&name.len());
    fits && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'-')) && !is_device_name(name)
}

/// Windows makes no folder of such a name, so that a copy would lack what lies in it.
fn is_device_name(name: &str) -> bool {
    let numbered = |prefix| {
        name.strip_prefix(prefix).is_some_and(|n: &str| n.len() == 1 && n.as_bytes()[0].is_ascii_digit())
    };
    matches!(name, "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt")
}

fn writer(rest: &str) -> Option<(WriterId, &str)> {
    let (writer, rest) = rest.split_once('/')?;
    Some((writer.parse().ok()?, rest))
}

/// Strips up to two fan-out folders; they must be the beginning of the hash, else one object would have many names.
fn without_fan_out(rest: &str) -> (Vec<&str>, &str) {
    let mut parts: Vec<&str> = rest.split('/').collect();
    let file = parts.pop().unwrap_or_default();
    (parts, file)
}

fn fan_out_fits(folders: &[&str], hash: &ObjectHash) -> bool {
    folders.len() <= 2 && folders.iter().zip(&hash.0).all(|(folder, byte)| *folder == format!("{byte:02x}"))
}

fn hashed(rest: &str, suffix: &str) -> Option<ObjectHash> {
    let (folders, file) = without_fan_out(rest);
    let hash = file.strip_suffix(suffix)?.parse().ok()?;
    fan_out_fits(&folders, &hash).then_some(hash)
}

fn numbered(rest: &str, suffix: &str) -> Option<Numbered> {
    let (folders, file) = without_fan_out(rest);
    let numbered = Numbered::parse(file.strip_suffix(suffix)?)?;
    fan_out_fits(&folders, &numbered.hash).then_some(numbered)
}

fn pack(rest: &str) -> Option<Name> {
    let (folders, file) = without_fan_out(rest);
    let stem = file.strip_suffix(".tar.zst.age")?;
    let (hash, generation) = match stem.split_once('-') {
        Some((hash, generation)) => (hash, Some(generation.parse().ok()?)),
        None => (stem, None),
    };
    let hash = hash.parse().ok()?;
    fan_out_fits(&folders, &hash).then_some(Name::Pack(hash, generation))
}

#[cfg(test)]
mod tests;
