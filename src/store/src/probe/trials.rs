use futures::StreamExt;
use futures::stream;

use super::{Ended, Prober};
use crate::{Body, ByteRange, Error, ErrorKind, Key, Level, Listing, Result};

/// Length of a small object in bytes.
const SMALL: usize = 1 << 10;

/// What a listing is good for.
const LISTING: &str = "a listing decides what may be deleted: `fardel prune` must not run here, and a backup may store chunks again that \
                       are there; what was reported as saved stays so";

impl Prober<'_> {
    pub(super) async fn room(&mut self) -> Result<(), Ended> {
        self.step("whether there is room")?;
        match self.store.check_room().await {
            Err(error) if error.kind == ErrorKind::NoSpace => {
                Err(self.useless(format!("no room: {error}"), "no pack can be stored there"))
            }
            // What else is wrong shows when something is stored.
            _ => Ok(()),
        }
    }

    /// Put, read, listed.
    pub(super) async fn small_object(&mut self) -> Result<(), Ended> {
        self.step("a small object")?;
        let (key, bytes) = (self.scratch.key("small")?, self.scratch.bytes(0, SMALL));
        let put = self.store.put_new(&key, Body::Bytes(bytes.clone())).await;
        self.needed("nothing can be stored", put)?;
        let got = self.store.get_range(&key, ByteRange::All).await;
        let got = self.needed("what was stored cannot be read", got)?;
        if got != bytes {
            return Err(self.useless("what is read is not what was stored", "no repository can lie there"));
        }
        self.ok("a small object is stored and read");
        let shown = self.shown(&key).await?;
        if shown != Some(SMALL as u64) {
            self.not_safe("a listing does not show what was stored just before", LISTING);
        } else {
            self.ok("a listing shows what was stored just before");
        }
        Ok(())
    }

    /// The size that a listing tells; none when it does not show the name.
    async fn shown(&mut self, key: &Key) -> Result<Option<u64>, Ended> {
        let listed = self.scratch.listed(&*self.store).await;
        let listed = self.needed("it cannot be listed", listed)?;
        Ok(listed.into_iter().find(|listed| listed.name == key.as_str()).map(|listed| listed.size))
    }

    pub(super) async fn taken_name(&mut self) -> Result<(), Ended> {
        self.step("a name that is taken")?;
        let (key, other) = (self.scratch.key("small")?, self.scratch.bytes(1, SMALL));
        let again = self.store.put_new(&key, Body::Bytes(other.clone())).await;
        let now = self.store.get_range(&key, ByteRange::All).await;
        let now = self.needed("what was stored cannot be read", now)?;
        if now != self.scratch.bytes(0, SMALL) {
            let means = "objects of a repository must never change: no repository can lie there";
            return Err(
                self.useless("what is stored is replaced by what is stored under the same name", means)
            );
        }
        match again {
            Err(error) if error.kind == ErrorKind::Exists => self.ok("what is stored is never replaced"),
            Ok(()) => {
                let means = "what is there stays, but who stores something else under a taken name is not told: run `fardel check`";
                self.not_safe("a name that is taken is accepted", means);
            }
            Err(error) => {
                let means = "what is there stays; an upload that is repeated may fail here, and then succeeds when it is run again";
                self.not_safe(format!("a name that is taken is refused in another way: {error}"), means);
            }
        }
        Ok(())
    }

    pub(super) async fn removal(&mut self) -> Result<(), Ended> {
        self.step("whether removed is gone")?;
        let key = self.scratch.key("small")?;
        if let Err(error) = self.store.delete(&key).await {
            let means = "backups, restores and syncs work; `fardel prune` cannot make room there";
            self.note(format!("nothing can be removed: {error}"), means);
            return Ok(());
        }
        if self.shown(&key).await?.is_some() {
            self.not_safe("a listing still shows what was removed just before", LISTING);
        } else {
            self.ok("a listing does not show what was removed just before");
        }
        match self.store.get_range(&key, ByteRange::All).await {
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Ok(_) => {
                let means = "something caches reads: Fardel verifies every byte, and never takes a read for proof that an object exists";
                self.not_safe("what was removed can still be read", means);
            }
            Err(error) => {
                let means = "objects that are missing look like a failing store: errors will be less clear";
                self.not_safe(format!("an object that is not there is told in another way: {error}"), means);
            }
        }
        Ok(())
    }

    pub(super) async fn large_object(&mut self) -> Result<(), Ended> {
        self.step("a large object, and parts of it")?;
        let (key, sample) = (self.scratch.key("large")?, self.scratch.sample(self.options.large)?);
        let len = sample.bytes.len() as u64;
        let put = self.store.put_new(&key, sample.body(&self.watch)).await;
        self.needed("a large object cannot be stored", put)?;
        for (start, end) in [(0, len.min(4096)), (len / 2 - 1, (len / 2 + 100_000).min(len)), (len - 1, len)]
        {
            let got = self.store.get_range(&key, ByteRange::between(start, end)).await;
            let got = self.needed("a part of an object cannot be read", got)?;
            if got != sample.bytes.slice(start as usize..end as usize) {
                let what =
                    format!("bytes {start} to {end} of an object are not those that were stored there");
                return Err(self.useless(what, "no repository can lie there"));
            }
        }
        self.ok("parts of an object are read");
        let beyond = self.store.get_range(&key, ByteRange::Span { start: len - 1, len: 2 }).await;
        match beyond {
            Err(error) if error.kind == ErrorKind::Truncated => {
                self.ok("nothing is read beyond the end of an object")
            }
            other => {
                let what = match other {
                    Ok(bytes) => format!("{} bytes came", bytes.len()),
                    Err(error) => error.to_string(),
                };
                let means =
                    "Fardel verifies every byte that it reads, and so still sees an object that is too short";
                self.not_safe(
                    format!("reading beyond the end of an object is not refused as such: {what}"),
                    means,
                );
            }
        }
        self.scratch.remove_some(&*self.store, [key]).await;
        Ok(())
    }

    /// An upload that ends in the middle.
    pub(super) async fn given_up(&mut self) -> Result<(), Ended> {
        self.step("an upload that is given up halfway")?;
        let (key, sample) = (self.scratch.key("half")?, self.scratch.sample(self.options.large * 3 / 2)?);
        let put = self.store.put_new(&key, sample.half()).await;
        if put.is_ok() {
            self.note("an upload cannot be given up here", "it goes at once");
            return Ok(());
        }
        let shown = self.shown(&key).await?;
        let read = self.store.get_range(&key, ByteRange::between(0, 1)).await;
        if shown.is_some() || read.is_ok() {
            let means = "interrupted uploads leave objects that are too short under their final names: Fardel goes by size and hash \
                         before it relies on one, `fardel check` names them, and other copiers would pass them on";
            self.not_safe("half of an upload that was given up is visible", means);
        } else {
            self.ok("nothing is visible of an upload that was given up halfway");
        }
        Ok(())
    }

    /// Names as long, and folders as deep, as they may be.
    pub(super) async fn shapes(&mut self) -> Result<(), Ended> {
        self.step("long names and deep folders")?;
        let room = 127 - self.scratch.folder().as_str().len();
        let hash = "0123456789abcdef".repeat(4);
        let shapes = [
            ("a name of 99 characters", "n".repeat(99.min(room))),
            ("the path of a pack", format!("ab/cd/{hash}-01234567.tar.zst.age")),
            ("deep folders", format!("{}d", "d/".repeat(room / 2 - 1))),
        ];
        for (what, name) in shapes {
            let (key, bytes) = (self.scratch.key(&name)?, self.scratch.bytes(2, SMALL));
            let put = self.store.put_new(&key, Body::Bytes(bytes.clone())).await;
            let put = put.map_err(|error| Error { message: format!("{what}: {}", error.message), ..error });
            self.needed("a name that repositories use cannot be used", put)?;
            let got = self.store.get_range(&key, ByteRange::All).await;
            if self.shown(&key).await?.is_none() || got.is_ok_and(|got| got != bytes) {
                let means = "repositories use such names: no repository can lie there";
                return Err(self.useless(format!("{what} does not come back as it was stored"), means));
            }
        }
        self.ok("names of 99 characters and paths of 127 are kept");
        Ok(())
    }

    pub(super) async fn many_names(&mut self) -> Result<(), Ended> {
        self.step("many names in one folder")?;
        let (count, at_once) = (self.options.names, self.store.capabilities().parallelism);
        let keys: Vec<_> =
            (0..count).map(|n| self.scratch.key(&format!("many/{n:05}"))).collect::<Result<_>>()?;
        let begun = std::time::Instant::now();
        let (store, watch) = (&self.store, &self.watch);
        let puts = keys.iter().enumerate().map(|(n, key)| {
            let bytes = self.scratch.bytes(3 + n as u64, SMALL);
            async move {
                match watch.stopped() {
                    true => Err(Error::new(ErrorKind::Stopped, key, "stopped")),
                    false => store.put_new(key, Body::Bytes(bytes)).await,
                }
            }
        });
        let puts: Result<Vec<()>> =
            stream::iter(puts).buffer_unordered(at_once).collect::<Vec<_>>().await.into_iter().collect();
        let took = begun.elapsed();
        self.needed("many small objects cannot be stored", puts)?;
        let listed = self.scratch.listed(&*self.store).await;
        let listed = self.needed("it cannot be listed", listed)?;
        let many = format!("{}many/", self.scratch.folder().as_str());
        let shown = listed.iter().filter(|listed| listed.name.starts_with(&many)).count();
        if shown != count {
            self.not_safe(format!("a listing shows {shown} of {count} names in one folder"), LISTING);
        } else {
            let rate = count as f64 / took.as_secs_f64().max(1e-6);
            self.ok(format!("{count} names in one folder, {rate:.0} a second, {at_once} at once"));
        }
        self.scratch.remove_some(&*self.store, keys).await;
        Ok(())
    }

    /// Two programs store different bytes under one name at the same moment.
    pub(super) async fn races(&mut self) -> Result<(), Ended> {
        self.step("two uploads of one name at the same moment")?;
        let (mut both, mut none) = (0, 0);
        for race in 0..self.options.races {
            if self.watch.stopped() {
                return Err(Ended::Stopped);
            }
            let key = self.scratch.key(&format!("race-{race}"))?;
            let bodies = [10, 11].map(|number| self.scratch.bytes(number + 2 * u64::from(race), SMALL));
            let (store, other, one_key, other_key) =
                (self.store.clone(), self.other.clone(), key.clone(), key.clone());
            let [one, two] = bodies.clone().map(Body::Bytes);
            let one = tokio::spawn(async move { store.put_new(&one_key, one).await });
            let two = tokio::spawn(async move { other.put_new(&other_key, two).await });
            let (one, two) = (one.await, two.await);
            let ended = [&one, &two].map(|ended| matches!(ended, Ok(Ok(()))));
            match ended {
                [true, true] => both += 1,
                [false, false] => none += 1,
                _ => {}
            }
            let stored = match self.store.get_range(&key, ByteRange::All).await {
                Err(error) if error.kind == ErrorKind::NotFound && ended == [false, false] => continue,
                stored => self.needed("what two programs stored at once cannot be read", stored)?,
            };
            let wins = [0, 1].map(|n| stored == bodies[n]);
            if !wins[0] && !wins[1] {
                let means = "two programs that store at once spoil an object: no repository can lie there";
                return Err(self.useless("what is stored is neither of two uploads of one name", means));
            }
            if let [true, false] | [false, true] = ended
                && wins != ended
            {
                let means = "objects of a repository must never change: no repository can lie there";
                return Err(self.useless("an upload that was refused replaced what was stored", means));
            }
        }
        let races = self.options.races;
        match both {
            0 => self.ok(format!("one of two uploads of one name wins ({races} races)")),
            _ => {
                let means = "names carry the hash of their bytes or a writer's own number, so that two programs only ever store the same \
                             bytes under one name; do not let two machines use copies of one key file";
                self.not_safe(
                    format!("two uploads of one name at the same moment both succeed ({both} of {races})"),
                    means,
                );
            }
        }
        if none > 0 {
            let means = "programs that store at once may both have to try again; Fardel does";
            self.note(
                format!("two uploads of one name at the same moment both fail ({none} of {races})"),
                means,
            );
        }
        Ok(())
    }

    /// What the store itself says and tries.
    pub(super) async fn examination(&mut self) -> Result<(), Ended> {
        self.step("what the store says of itself")?;
        match self.store.examine(self.scratch.folder()).await {
            Ok(found) => self.report.findings.extend(found),
            Err(error) => {
                self.note(format!("it cannot be examined: {error}"), "what it promises is not known")
            }
        }
        let weak =
            self.report.findings.iter().any(|found| found.level == Level::Unsafe && found.means == LISTING);
        if self.store.capabilities().listing == Listing::Unknown && !weak {
            let what = "nobody knows whether a listing always shows what was stored before";
            self.not_safe(what, format!("it did now, but {LISTING}"));
        }
        Ok(())
    }
}
