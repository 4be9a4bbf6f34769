//! What PROPFIND answers. Such a text comes from outside: no entity is expanded, nothing nests deeply, nothing is followed.

use percent_encoding::percent_decode_str;
use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};

use crate::pause;

/// Elements nest no deeper in any answer to our question.
const DEEPEST: usize = 32;

/// One resource of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// The path in the URL, decoded, without a `/` at the end.
    pub(super) path: String,
    pub(super) is_folder: bool,
    /// Length in bytes; a folder has none.
    pub(super) size: Option<u64>,
    /// When it was written, in seconds since 1970, by the server's clock.
    pub(super) modified: Option<i64>,
}

/// Elements that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Response,
    Href,
    PropStat,
    Status,
    Collection,
    Length,
    Modified,
    Other,
}

/// The resources of a multistatus.
///
/// # Errors
/// In words, when it is none.
pub(super) fn parse(xml: &str) -> Result<Vec<Item>, String> {
    let mut reader = NsReader::from_str(xml);
    let mut parser = Parser::default();
    let mut rooted = false;
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|error| error.to_string())?;
        let is_dav = namespace == ResolveResult::Bound(Namespace(b"DAV:"));
        match event {
            Event::Start(start) => {
                let element = element(is_dav, start.local_name().as_ref());
                rooted |= is_dav && start.local_name().as_ref() == b"multistatus";
                parser.open(element)?;
            }
            Event::Empty(start) => {
                parser.open(element(is_dav, start.local_name().as_ref()))?;
                parser.close()?;
            }
            Event::End(_) => parser.close()?,
            Event::Text(text) => parser.text.push_str(&text.decode().map_err(|error| error.to_string())?),
            Event::CData(text) => parser.text.push_str(&text.decode().map_err(|error| error.to_string())?),
            Event::GeneralRef(entity) => {
                let name = entity.decode().map_err(|error| error.to_string())?;
                match entity.resolve_char_ref().map_err(|error| error.to_string())? {
                    Some(c) => parser.text.push(c),
                    None => parser.text.push(predefined(&name)?),
                }
            }
            Event::DocType(_) => return Err("it declares a document type".into()),
            Event::Eof if !rooted => return Err("it is no list of resources".into()),
            Event::Eof if !parser.open.is_empty() => return Err("it ends too early".into()),
            Event::Eof => return Ok(parser.items),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
}

fn element(is_dav: bool, name: &[u8]) -> Element {
    match name {
        _ if !is_dav => Element::Other,
        b"response" => Element::Response,
        b"href" => Element::Href,
        b"propstat" => Element::PropStat,
        b"status" => Element::Status,
        b"collection" => Element::Collection,
        b"getcontentlength" => Element::Length,
        b"getlastmodified" => Element::Modified,
        _ => Element::Other,
    }
}

fn predefined(name: &str) -> Result<char, String> {
    match name {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(format!("it uses the entity {name}")),
    }
}

#[derive(Default)]
struct Parser {
    open: Vec<Element>,
    text: String,
    item: Item,
    /// What stands in a propstat counts when its status is 200, which may come last.
    properties: Item,
    is_found: bool,
    items: Vec<Item>,
}

impl Parser {
    fn open(&mut self, element: Element) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err("it nests too deeply".into());
        }
        match element {
            Element::Response => self.item = Item::default(),
            Element::PropStat => (self.properties, self.is_found) = (Item::default(), false),
            _ => {}
        }
        self.open.push(element);
        self.text.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        let element = self.open.pop().unwrap_or(Element::Other);
        let in_propstat = self.open.contains(&Element::PropStat);
        match element {
            // Only the one of the response itself: properties may hold others.
            Element::Href if self.open.last() == Some(&Element::Response) => self.item.path = path(text)?,
            Element::Status if self.open.last() == Some(&Element::PropStat) => {
                self.is_found = text.split_whitespace().nth(1) == Some("200");
            }
            Element::Collection if in_propstat => self.properties.is_folder = true,
            Element::Length if in_propstat => self.properties.size = text.parse().ok(),
            Element::Modified if in_propstat => self.properties.modified = pause::seconds(text),
            Element::PropStat if self.is_found => {
                self.item.is_folder |= self.properties.is_folder;
                self.item.size = self.item.size.or(self.properties.size);
                self.item.modified = self.item.modified.or(self.properties.modified);
            }
            Element::Response => self.items.push(std::mem::take(&mut self.item)),
            _ => {}
        }
        Ok(())
    }
}

/// The decoded path of a URL or of a path, without a `/` at the end. A name that is not UTF-8 comes out changed, as a stranger's.
pub(super) fn path(href: &str) -> Result<String, String> {
    let path = match href.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => href,
    };
    if !path.starts_with('/') {
        return Err(format!("{href:?} is no path"));
    }
    Ok(percent_decode_str(path).decode_utf8_lossy().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_answer() {
        let apache = r#"<?xml version="1.0" encoding="utf-8"?>
            <D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
            <D:response xmlns:lp1="DAV:"><D:href>/dav/a%20b/</D:href><D:propstat><D:prop>
            <lp1:resourcetype><D:collection/></lp1:resourcetype><lp1:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</lp1:getlastmodified>
            </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat><D:propstat><D:prop><D:getcontentlength/></D:prop>
            <D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>
            <D:response><D:href>http://h:1/dav/a%20b/x&amp;y</D:href><D:propstat><D:prop><lp1:resourcetype xmlns:lp1="DAV:"/>
            <D:getcontentlength>17</D:getcontentlength></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
            </D:multistatus>"#;
        let folder =
            Item { path: "/dav/a b".into(), is_folder: true, size: None, modified: Some(784_111_777) };
        let file = Item { path: "/dav/a b/x&y".into(), is_folder: false, size: Some(17), modified: None };
        assert_eq!(parse(apache).unwrap(), [folder, file]);
    }

    #[test]
    fn hostile_texts_are_refused_and_cost_nothing() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]><multistatus xmlns=\"DAV:\">&b;</multistatus>";
        let deep = format!("<multistatus xmlns=\"DAV:\">{}", "<a>".repeat(100_000));
        let table = [
            ("", "no list"),
            ("<html><body>hello</body></html>", "no list"),
            (bomb, "document type"),
            ("<multistatus xmlns=\"DAV:\">&b;</multistatus>", "entity"),
            (&deep, "too deeply"),
            ("<multistatus xmlns=\"DAV:\"><response></multistatus>", ""),
            ("<multistatus xmlns=\"DAV:\"><response><href>../x</href></response></multistatus>", "no path"),
            ("<multistatus xmlns=\"not DAV:\"/>", "no list"),
            ("<multistatus xmlns=\"DAV:\"><response>", "too early"),
        ];
        for (xml, why) in table {
            let error = parse(xml).unwrap_err();
            assert!(error.contains(why), "{}: {error}", &xml[..xml.len().min(80)]);
        }
    }

    #[test]
    fn properties_that_were_not_found_do_not_count() {
        let xml = "<multistatus xmlns=\"DAV:\"><response><href>/x</href><propstat><prop><getcontentlength>5</getcontentlength>\
                   </prop><status>HTTP/1.1 404 Not Found</status></propstat></response></multistatus>";
        assert_eq!(parse(xml).unwrap(), [Item { path: "/x".into(), ..Item::default() }]);
    }
}
