//! Other places that hold the same repository: asked for single objects that cannot be had where one reads.
//!
//! Each is opened when the first object is lacking, not before. It must have the same card, byte for byte. Its own listing tells where
//! an object lies there: folders may be deeper, and a pack may have another generation. What comes from there is verified as
//! if it came from here. Nothing is stored there, and which snapshots there are is said by the place one reads from alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fardel_format::names::CARD;
use fardel_format::{RepositoryId, card};
use fardel_store::{ErrorKind, Key, Store};

use crate::bridge::Blocking;
use crate::catalog::Catalog;
use crate::{Error, Result};

/// So many objects are told by name.
const MOST_TOLD: usize = 1000;

/// How a place is reached when it is needed. The error is for people.
type Reach = Box<dyn Fn() -> Result<Arc<dyn Store>, String> + Send + Sync>;

/// A place that may hold the same repository.
pub struct Other {
    name: String,
    reach: Reach,
    reached: OnceLock<Result<Reached, String>>,
}

/// A place that was opened.
pub(crate) struct Reached {
    pub store: Blocking,
    pub catalog: Catalog,
}

impl Other {
    /// A place of this name, which is reached only when it is needed.
    pub fn new(
        name: impl Into<String>,
        reach: impl Fn() -> Result<Arc<dyn Store>, String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), reach: Box::new(reach), reached: OnceLock::new() }
    }

    fn open(&self, id: &RepositoryId) -> Result<Reached, String> {
        let store = Blocking::new((self.reach)()?);
        let words = |error: fardel_store::Error| error.to_string();
        let bytes = store.get(&Key::new(CARD).map_err(words)?).map_err(|error| match error.kind {
            ErrorKind::NotFound => "there is no repository".to_owned(),
            _ => words(error),
        })?;
        let found = card::repository_id(&bytes);
        if found != *id {
            return Err(format!("it holds repository {}, not {}", found.short(), id.short()));
        }
        let catalog = Catalog::load(&store).map_err(|error| error.to_string())?;
        Ok(Reached { store, catalog })
    }
}

impl fmt::Debug for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Other").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An object that was had from another copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Its name.
    pub object: String,
    /// Why it could not be had where one reads.
    pub why: String,
    /// Which copy gave it.
    pub copy: String,
}

/// What came of asking other copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// The first thousand objects, by name.
    pub objects: Vec<Fallback>,
    /// Whether there were more.
    pub more: bool,
    /// Copies that were needed and could not be asked, and why.
    pub unusable: Vec<(String, String)>,
}

/// The other copies of one repository.
#[derive(Debug)]
pub struct Copies {
    id: RepositoryId,
    others: Vec<Other>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    objects: BTreeMap<String, Fallback>,
    more: bool,
}

impl Copies {
    pub(crate) fn new(id: RepositoryId, others: Vec<Other>) -> Self {
        Self { id, others, taken: Mutex::default() }
    }

    /// Whether there is any.
    pub(crate) fn are_there(&self) -> bool {
        !self.others.is_empty()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of asking them until now.
    #[must_use]
    pub fn fallbacks(&self) -> Fallbacks {
        let taken = self.taken();
        let unusable = self.others.iter().filter_map(|other| match other.reached.get() {
            Some(Err(why)) => Some((other.name.clone(), why.clone())),
            _ => None,
        });
        Fallbacks {
            objects: taken.objects.values().cloned().collect(),
            more: taken.more,
            unusable: unusable.collect(),
        }
    }

    /// Those that can be asked, in the order in which they were given; each is opened when it is its turn.
    pub(crate) fn reached(&self) -> impl Iterator<Item = (&str, &Reached)> {
        self.others.iter().filter_map(|other| {
            let reached = other.reached.get_or_init(|| other.open(&self.id));
            reached.as_ref().ok().map(|reached| (&*other.name, reached))
        })
    }

    /// Whether another copy may have what this error says cannot be had.
    pub(crate) fn may_help(&self, error: &Error) -> bool {
        let passing = matches!(error, Error::Store(error) if error.kind == ErrorKind::Transient);
        self.are_there() && (passing || error.is_damage())
    }

    /// What was had here; else what the first other copy gives that has it whole; else why it cannot be had here.
    pub(crate) fn or_there<T>(
        &self,
        object: &dyn fmt::Display,
        here: Result<T>,
        mut there: impl FnMut(&Reached) -> Result<T>,
    ) -> Result<T> {
        let error = match here {
            Err(error) if self.may_help(&error) => error,
            other => return other,
        };
        match self.reached().find_map(|(name, reached)| Some((name, there(reached).ok()?))) {
            Some((name, got)) => {
                self.note(object, &error, name);
                Ok(got)
            }
            None => Err(error),
        }
    }

    /// Remembers that an object came from a copy.
    pub(crate) fn note(&self, object: &dyn fmt::Display, why: &dyn fmt::Display, copy: &str) {
        let (object, mut taken) = (object.to_string(), self.taken());
        if taken.objects.contains_key(&object) {
            return;
        }
        if taken.objects.len() == MOST_TOLD {
            taken.more = true;
            return;
        }
        let fallback = Fallback { object: object.clone(), why: why.to_string(), copy: copy.to_owned() };
        taken.objects.insert(object, fallback);
    }
}
