//! Records of signers, tombs and acknowledgements: everything that is signed but snapshots.

use std::collections::BTreeSet;

use fardel_format::names::{FanOut, Name};
use fardel_format::signers::{Record, Registry, Role};
use fardel_format::tomb::{Takes, Tomb};
use fardel_format::{Error as FormatError, ObjectHash, RepositoryId};
use fardel_store::Key;

use super::findings::{Findings, class_of_text};
use super::report::Class;
use super::seals::small;
use crate::Result;
use crate::catalog::{Catalog, Stored, key_of};
use crate::replicas::Acks;
use crate::repository::Repository;
use crate::snapshots::Snapshots;

/// Looks at all records of signers; whether every one is there.
///
/// # Errors
/// When the store fails.
pub fn signers(repo: &Repository, catalog: &Catalog, findings: &mut Findings) -> Result<bool> {
    let (mut good, mut unsigned) = (BTreeSet::new(), Vec::new());
    let mut whole = true;
    for (name, stored) in &catalog.signers {
        let Some(sig) = catalog.signer_sigs.get(name) else {
            unsigned.push((*name, &stored.key));
            continue;
        };
        let verify = |bytes: &[u8], sig: &str| {
            Record::from_bytes(bytes, sig, repo.id(), name, &repo.card().root_public_key).map(drop)
        };
        match signed(repo, stored, sig, &name.hash, verify)? {
            Signed::Good => drop(good.insert(name.seq)),
            // Also what an `init` left behind that was cut off before there was a card.
            Signed::Foreign => {
                findings.note(format!("{} belongs to another repository and was ignored", stored.key))
            }
            Signed::Bad { object, class, why } => {
                whole = false;
                findings.add(object, class, why);
            }
        }
    }
    for (name, sig) in catalog.signer_sigs.iter().filter(|(name, _)| !catalog.signers.contains_key(name)) {
        whole = false;
        let key = key_of(&Name::Signers(*name), FanOut::FLAT);
        findings.add(key, Class::Missing, format!("{} signs it, and it is not here", sig.key));
    }
    for (name, key) in unsigned {
        if good.contains(&name.seq) {
            findings.note(format!("{key} has no signature and counts for nothing: its writing was cut off"));
            continue;
        }
        whole = false;
        let sig = key_of(&Name::SignersSig(name), FanOut::FLAT);
        findings.add(
            sig,
            Class::Missing,
            format!("the signature of {key} is not here: the record counts for nothing"),
        );
    }
    let last = good.last().copied().unwrap_or(1);
    for seq in (1..=last).filter(|seq| !good.contains(seq)) {
        let told = catalog.signers.keys().chain(catalog.signer_sigs.keys()).any(|name| name.seq == seq);
        whole = false;
        if !told || good.is_empty() {
            let why = "a record of signers is not here: whoever it named is unknown now";
            findings.add(format!("signers/{seq:08}"), Class::Missing, why);
        }
    }
    Ok(whole)
}

/// Looks at all tombs.
///
/// # Errors
/// When the store fails.
pub fn tombs(
    repo: &Repository,
    catalog: &Catalog,
    registry: &Registry,
    findings: &mut Findings,
) -> Result<()> {
    for ((writer, name), stored) in &catalog.tombs {
        let Some(sig) = catalog.tomb_sigs.get(&(*writer, *name)) else {
            findings.note(format!(
                "{} has no signature and counts for nothing: its writing was cut off",
                stored.key
            ));
            continue;
        };
        let Some(signer) = registry.get_even_removed(writer) else {
            let why = format!("{writer} is no known signer: it takes nothing away");
            findings.add(&stored.key, Class::Forged, why).harmless = true;
            continue;
        };
        let mut takes = None;
        let verify = |bytes: &[u8], sig: &str| {
            let tomb = Tomb::from_bytes(bytes, sig, repo.id(), name, &signer.public_key)?;
            takes = Some(tomb.takes);
            Ok(())
        };
        match signed(repo, stored, sig, &name.hash, verify)? {
            Signed::Good => {}
            Signed::Foreign => {
                findings.add(&stored.key, Class::Forged, "it belongs to another repository").harmless = true;
            }
            Signed::Bad { object, class, why } => {
                findings.add(object, class, format!("{why}: it takes nothing away"));
            }
        }
        let role = match takes {
            None => continue,
            Some(
                Takes::Forget { .. } | Takes::MergedForgets { .. } | Takes::Pin { .. } | Takes::Unpin { .. },
            ) => Role::ForgetOwn,
            Some(Takes::Condemn { .. } | Takes::Revoke { .. }) => Role::Maintain,
        };
        if !registry.may(writer, role) && !registry.may(writer, Role::Maintain) {
            let why = format!("{} may not take this away: it has no effect", signer.name);
            findings.add(&stored.key, Class::Forged, why).harmless = true;
        }
    }
    for ((writer, name), sig) in catalog.tomb_sigs.iter().filter(|(id, _)| !catalog.tombs.contains_key(id)) {
        let key = key_of(&Name::Tomb(*writer, *name), FanOut::FLAT);
        findings.add(
            key,
            Class::Missing,
            format!("{} signs it, and it is not here: what it took away may rise again", sig.key),
        );
    }
    Ok(())
}

/// Looks at all acknowledgements: one that does not hold costs no snapshot anything, and lets nothing go.
///
/// # Errors
/// When the store fails.
pub fn acks(
    repo: &Repository,
    catalog: &Catalog,
    snapshots: &Snapshots,
    findings: &mut Findings,
) -> Result<()> {
    for problem in Acks::load(repo, catalog, &snapshots.registry, &snapshots.tombs)?.problems {
        let class = match problem.error {
            FormatError::Forged { .. } => Class::Forged,
            _ => Class::Corrupt,
        };
        findings.add(&problem.object, class, format!("{}: it counts for nothing", problem.error)).harmless =
            true;
    }
    Ok(())
}

enum Signed {
    Good,
    /// It says itself that it belongs to another repository.
    Foreign,
    Bad {
        object: Key,
        class: Class,
        why: String,
    },
}

fn signed(
    repo: &Repository,
    stored: &Stored,
    signature: &Stored,
    hash: &ObjectHash,
    verify: impl FnOnce(&[u8], &str) -> Result<(), FormatError>,
) -> Result<Signed> {
    let bad = |stored: &Stored, class, why: String| Signed::Bad { object: stored.key.clone(), class, why };
    let bytes = match small(repo, stored)? {
        Ok(bytes) => bytes,
        Err((class, why)) => return Ok(bad(stored, class, why)),
    };
    if ObjectHash::of(&bytes) != *hash {
        return Ok(bad(stored, class_of_text(&bytes), "its hash differs from its name".into()));
    }
    let sig = match small(repo, signature)? {
        Ok(sig) => sig,
        Err((class, why)) => return Ok(bad(signature, class, why)),
    };
    let Ok(text) = std::str::from_utf8(&sig) else {
        return Ok(bad(signature, Class::Corrupt, "it is not text".into()));
    };
    match verify(&bytes, text) {
        Ok(()) => Ok(Signed::Good),
        Err(_) if is_foreign(&bytes, repo.id()) => Ok(Signed::Foreign),
        Err(error @ FormatError::Forged { .. }) => Ok(bad(signature, Class::Forged, error.to_string())),
        Err(error) => Ok(bad(signature, class_of_text(&sig), error.to_string())),
    }
}

fn is_foreign(record: &[u8], repository: &RepositoryId) -> bool {
    #[derive(serde::Deserialize)]
    struct Belongs {
        repository: RepositoryId,
    }
    serde_json::from_slice::<Belongs>(record).is_ok_and(|belongs| belongs.repository != *repository)
}
