//! Acknowledgements: what a replica that another tool copies holds whole. Whoever collects at its source keeps that.
//!
//! One file, so that what a copier brings is all of it or nothing: a line of JSON, and a line with the signature over the first.

use serde::{Deserialize, Serialize};

use crate::ids::{ObjectHash, RepositoryId, SnapshotId};
use crate::names::{Numbered, PackName, is_replica_name};
use crate::sign::{PublicKey, SigningKey};
use crate::version;
use crate::{Error, Result};

/// Acknowledgements beyond this are refused, in bytes.
pub const MAX_SIZE: usize = 1 << 20;

const WHAT: &str = "an acknowledgement";

/// What a replica holds whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Format version.
    pub fardel: u64,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// How the replica is called.
    pub replica: String,
    /// Who signs it.
    pub writer: PublicKey,
    /// The signer's number for it: a larger one of the same replica and signer says more than a smaller one.
    pub seq: u32,
    /// When, RFC 3339 UTC; for people.
    pub created: String,
    /// The snapshot, for people.
    pub snapshot: SnapshotId,
    /// The manifest of which everything is there.
    pub manifest: ObjectHash,
    /// The packs that it needs and that the replica holds in another writing than the first: in this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<PackName>,
}

/// The second line.
#[derive(Serialize, Deserialize)]
struct Signed {
    signature: String,
}

impl Ack {
    /// The bytes to store, signed.
    ///
    /// # Errors
    /// When the key cannot sign, or it would be larger than any that is read.
    pub fn to_bytes(&self, key: &SigningKey) -> Result<Vec<u8>> {
        let mut bytes = line(self);
        let signature = key.sign(&bytes, &self.comment())?;
        bytes.extend(line(&Signed { signature }));
        if bytes.len() > MAX_SIZE {
            return Err(Error::TooLarge { what: WHAT, limit: MAX_SIZE as u64 });
        }
        Ok(bytes)
    }

    /// Reads the acknowledgement of this replica and name, and verifies that its writer signed it. Whether that writer may is
    /// the registry's to say.
    ///
    /// # Errors
    /// When its writer did not sign it, or it is not what its name says.
    pub fn from_bytes(
        bytes: &[u8],
        repository: &RepositoryId,
        replica: &str,
        name: &Numbered,
    ) -> Result<Self> {
        if bytes.len() > MAX_SIZE {
            return Err(Error::TooLarge { what: WHAT, limit: MAX_SIZE as u64 });
        }
        if ObjectHash::of(bytes) != name.hash {
            return Err(Error::damaged(WHAT, "its hash differs from its name"));
        }
        let two = || Error::damaged(WHAT, "it has not two lines");
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(two)? + 1;
        let (said, signed) = bytes.split_at(end);
        if signed.last() != Some(&b'\n') {
            return Err(two());
        }
        version::check(WHAT, said, 1)?;
        let ack: Self = serde_json::from_slice(said).map_err(|e| Error::damaged(WHAT, e))?;
        let Signed { signature } = serde_json::from_slice(signed).map_err(|e| Error::damaged(WHAT, e))?;
        if ack.repository != *repository || ack.replica != replica || ack.seq != name.seq {
            return Err(Error::damaged(WHAT, "it belongs elsewhere"));
        }
        if !is_replica_name(&ack.replica) {
            return Err(Error::damaged(WHAT, "no replica has such a name"));
        }
        ack.writer.verify(WHAT, said, &signature, &ack.comment())?;
        Ok(ack)
    }

    fn comment(&self) -> String {
        let Self { repository, replica, writer, seq, .. } = self;
        format!("fardel ack 1 {repository} {} {seq:08} {replica}", writer.writer())
    }
}

fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("it is plain data");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
