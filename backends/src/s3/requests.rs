//! The requests that `object_store` does not have, or answers with less than there is: the pages of a listing with any name
//! in them, the parts of an upload, the uploads of a bucket.

use std::time::Duration;

use bytes::BytesMut;
use fardel_store::{ErrorKind, Listed};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer, Url};
use quick_xml::Reader;
use quick_xml::events::Event;
use reqwest::StatusCode;

use crate::cloud::failure::Failure;
use crate::pause;

/// How long a signature counts; clocks may differ by minutes.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// A request is made so often, as long as its failures pass.
const ATTEMPTS: u32 = 5;

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// No page of a thousand names comes near, in bytes.
const LONGEST_PAGE: usize = 16 << 20;

/// No upload has more pages of parts.
const MOST_PAGES_OF_PARTS: usize = 20;

/// More uploads than these pages hold are not looked at.
const MOST_PAGES_OF_UPLOADS: usize = 100;

/// Reads what the service says of one bucket.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    pub(super) signer: AmazonS3,
    pub(super) http: reqwest::Client,
}

/// A part of an upload, as the service tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// From 1.
    pub(super) number: u64,
    /// In bytes.
    pub(super) size: u64,
    pub(super) tag: String,
}

/// An upload in parts that was begun, and neither finished nor given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) name: String,
    pub(super) id: String,
    /// In seconds since 1970, by the clock of the service.
    pub(super) at: i64,
}

/// One page of a listing, and how to ask for the next.
pub(super) struct Page {
    pub(super) names: Vec<Listed>,
    pub(super) next: Option<String>,
}

impl Requests {
    /// The names that begin with `prefix`, a page of them: any names, whatever strangers put there.
    pub(super) async fn names(&self, prefix: &str, after: Option<&str>) -> Result<Page, Failure> {
        let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix)];
        query.extend(after.map(|token| ("continuation-token", token)));
        let (page, _) = self.ask("", &query).await?;
        let is_encoded = page.text("EncodingType") == Some("url");
        let names = page.entries("Contents").map(|entry| {
            let size = entry.number("Size").ok_or_else(|| unreadable("a name without a size"))?;
            let name = entry.text("Key").ok_or_else(|| unreadable("an entry without a name"))?;
            Ok(Listed { name: plain(name, is_encoded), size })
        });
        let names = names.collect::<Result<_, Failure>>()?;
        let next = page.text("NextContinuationToken").filter(|_| page.is_cut()).map(str::to_owned);
        if page.is_cut() && (next.is_none() || next.as_deref() == after) {
            return Err(unreadable("a page that is cut does not say how to go on"));
        }
        Ok(Page { names, next })
    }

    /// The parts of an upload that are there.
    ///
    /// # Errors
    /// One for which [`Failure::is_no_such_upload`] holds when the service knows it no longer.
    pub(super) async fn parts(&self, path: &Path, id: &str) -> Result<Vec<Part>, Failure> {
        let (mut parts, mut marker) = (Vec::new(), None::<String>);
        for _ in 0..MOST_PAGES_OF_PARTS {
            let mut query = vec![("uploadId", id), ("max-parts", "1000")];
            query.extend(marker.as_deref().map(|marker| ("part-number-marker", marker)));
            let (page, _) = self.ask(path.as_ref(), &query).await?;
            parts.extend(page.entries("Part").filter_map(|entry| {
                let (number, size) = (entry.number("PartNumber")?, entry.number("Size")?);
                Some(Part { number, size, tag: entry.text("ETag")?.to_owned() })
            }));
            if !page.is_cut() {
                return Ok(parts);
            }
            marker = page
                .text("NextPartNumberMarker")
                .map(str::to_owned)
                .filter(|next| marker.as_ref() != Some(next));
            if marker.is_none() {
                break;
            }
        }
        Err(unreadable("the list of parts has no end"))
    }

    /// How long the bucket keeps by itself whatever is put there.
    pub(super) async fn retention(&self) -> Result<Duration, Failure> {
        let rules = match self.ask("", &[("object-lock", "")]).await {
            Ok((rules, _)) => rules,
            Err(failure) if failure.kind() == ErrorKind::Transient => return Err(failure),
            // It keeps nothing, does not know what is asked, or does not tell us: then it says so when something is deleted.
            Err(_) => return Ok(Duration::ZERO),
        };
        let days = |rule: Entry<'_>| {
            let years = rule.number("DefaultRetention/Years").map(|years| years.saturating_mul(366));
            rule.number("DefaultRetention/Days").or(years)
        };
        let days = rules.entries("Rule").find_map(days).unwrap_or(0);
        Ok(Duration::from_secs(days.saturating_mul(24 * 3600)))
    }

    /// The uploads under names that begin with `prefix`, and what time it is at the service, in seconds since 1970.
    pub(super) async fn uploads(&self, prefix: &str) -> Result<(Vec<Begun>, i64), Failure> {
        let (mut uploads, mut marker, mut now) = (Vec::new(), None::<(String, String)>, None);
        for _ in 0..MOST_PAGES_OF_UPLOADS {
            let mut query = vec![("uploads", ""), ("encoding-type", "url"), ("prefix", prefix)];
            if let Some((key, id)) = &marker {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
            }
            let (page, date) = self.ask("", &query).await?;
            now = now.or(date);
            let is_encoded = page.text("EncodingType") == Some("url");
            uploads.extend(page.entries("Upload").filter_map(|entry| {
                let begun: jiff::Timestamp = entry.text("Initiated")?.parse().ok()?;
                let name = plain(entry.text("Key")?, is_encoded);
                Some(Begun { name, id: entry.text("UploadId")?.to_owned(), at: begun.as_second() })
            }));
            let next = |name| page.text(name).map(|text| plain(text, is_encoded));
            let next = next("NextKeyMarker").zip(page.text("NextUploadIdMarker").map(str::to_owned));
            if !page.is_cut() || next.is_none() || next == marker {
                break;
            }
            marker = next;
        }
        let now = now.ok_or_else(|| unreadable("the service does not tell the time"))?;
        Ok((uploads, now))
    }

    /// The answer to a request for something about `path`, and when it was given. It is asked again while failures pass.
    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<(Xml, Option<i64>), Failure> {
        let mut failures = 0;
        loop {
            let failure = match self.ask_once(path, query).await {
                Err(failure) if failure.kind() == ErrorKind::Transient => failure,
                answer => return answer,
            };
            failures += 1;
            if failures >= ATTEMPTS {
                return Err(failure);
            }
            let asked = failure.delay().unwrap_or_default();
            tokio::time::sleep(asked + FIRST_PAUSE.saturating_mul(1 << failures)).await;
        }
    }

    async fn ask_once(&self, path: &str, query: &[(&str, &str)]) -> Result<(Xml, Option<i64>), Failure> {
        let path = Path::parse(path).map_err(|error| Failure::new(ErrorKind::Invalid, error.to_string()))?;
        let signed = SignedUrlOptions::new().with_query(query.iter().copied());
        let url: Url = self.signer.signed_url_opts(Method::GET, &path, SIGNED_FOR, &signed).await?;
        // The address holds the signature.
        let lost = |error: reqwest::Error| Failure::of_line(error.without_url());
        let mut answer = self.http.get(url).send().await.map_err(lost)?;
        let status = answer.status();
        let asked = pause::asked_for(status, answer.headers());
        let now = pause::date(answer.headers());
        let mut body = BytesMut::new();
        while let Some(bytes) = answer.chunk().await.map_err(lost)? {
            if body.len() + bytes.len() > LONGEST_PAGE {
                return Err(unreadable(format!("it is longer than {LONGEST_PAGE} bytes")));
            }
            body.extend_from_slice(&bytes);
        }
        let text = String::from_utf8_lossy(&body);
        if status != StatusCode::OK {
            return Err(Failure::of_answer(status, &text).with_delay(asked));
        }
        Ok((Xml::parse(&text).map_err(unreadable)?, now))
    }
}

fn unreadable(what: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorKind::Other, format!("the service's answer cannot be used: {what}"))
}

/// A name as it is, if the service encoded it so that any name fits into XML.
fn plain(name: &str, is_encoded: bool) -> String {
    if !is_encoded {
        return name.to_owned();
    }
    // Some write a space as `+`; a `+` itself is always encoded.
    let name = name.replace('+', " ");
    percent_encoding::percent_decode_str(&name).decode_utf8_lossy().into_owned()
}

/// Elements of an answer: those with text, and which of them stand in an entry of their own.
struct Xml {
    fields: Vec<(String, String)>,
    entries: Vec<(String, Vec<(String, String)>)>,
}

/// What stands in one entry of a list.
struct Entry<'a>(&'a [(String, String)]);

impl Xml {
    /// Reads what stands in the outermost element, three levels of it: what lies deeper is left out. What stands in an element
    /// of an entry is called by both their names.
    fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(text);
        let (mut open, mut xml) = (Vec::<String>::new(), Self { fields: Vec::new(), entries: Vec::new() });
        let (mut inside, mut rooted) = (String::new(), false);
        loop {
            match reader.read_event().map_err(|error| error.to_string())? {
                Event::Start(start) => {
                    if open.len() > 16 {
                        return Err("elements lie too deep in one another".into());
                    }
                    open.push(String::from_utf8_lossy(start.local_name().as_ref()).into_owned());
                    if let [_, entry] = &open[..] {
                        xml.entries.push((entry.clone(), Vec::new()));
                    }
                    (rooted, inside) = (true, String::new());
                }
                Event::Text(text) => inside.push_str(&text.decode().map_err(|error| error.to_string())?),
                Event::CData(text) => inside.push_str(&text.decode().map_err(|error| error.to_string())?),
                Event::GeneralRef(reference) => inside.push(character(&reference)?),
                Event::End(_) => {
                    let text = std::mem::take(&mut inside);
                    let depth = open.len();
                    let name = open.pop().unwrap_or_default();
                    match (depth, xml.entries.last_mut()) {
                        (2, Some((_, fields))) if fields.is_empty() => {
                            xml.entries.pop();
                            xml.fields.push((name, text));
                        }
                        (3, Some((_, fields))) => fields.push((name, text)),
                        (4, Some((_, fields))) => fields.push((format!("{}/{name}", open[2]), text)),
                        _ => {}
                    }
                }
                Event::DocType(_) => return Err("it defines a type of its own".into()),
                Event::Eof if open.is_empty() && rooted => return Ok(xml),
                Event::Eof => return Err("it ends too early".into()),
                _ => {}
            }
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        Entry(&self.fields).text(name)
    }

    fn entries<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Entry<'a>> {
        self.entries.iter().filter(move |(found, _)| found == name).map(|(_, fields)| Entry(fields))
    }

    /// Whether more is to be asked for.
    fn is_cut(&self) -> bool {
        self.text("IsTruncated") == Some("true")
    }
}

impl<'a> Entry<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, text)| text.as_str())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }
}

/// What a reference such as `&amp;` or `&#65;` stands for.
fn character(reference: &quick_xml::events::BytesRef<'_>) -> Result<char, String> {
    if let Some(character) = reference.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(character);
    }
    let name = reference.decode().map_err(|error| error.to_string())?;
    Ok(match &*name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => return Err(format!("it holds an unknown reference: {name}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_what_stands_beside_them_are_read() {
        let text = "<?xml version=\"1.0\"?>\n<R xmlns=\"x\">\n <IsTruncated>true</IsTruncated><P/>\n \
                    <Part><ETag>&quot;a&#38;b&quot;</ETag><Size> 7 </Size><O><ID>n</ID></O></Part>\n \
                    <Part><Size>x</Size></Part></R>";
        let xml = Xml::parse(text).unwrap();
        assert!(xml.is_cut());
        let parts: Vec<_> = xml.entries("Part").collect();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].text("ETag"), parts[0].number("Size")), (Some("\"a&b\""), Some(7)));
        assert_eq!((parts[0].text("ID"), parts[0].text("O/ID")), (None, Some("n")));
        assert_eq!((parts[1].text("ETag"), parts[1].number("Size")), (None, None));
        for bad in [
            "",
            "<R>",
            "<R></S>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><R>&a;</R>",
            "<R>&a;</R>",
            &"<a>".repeat(99),
        ] {
            assert!(Xml::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_decoded_where_they_are_encoded() {
        assert_eq!(plain("a%2F%2Fb+c%2B%01", true), "a//b c+\u{1}");
        assert_eq!(plain("a%2F+", false), "a%2F+");
    }
}
