//! Saves a folder: the walk and the earlier snapshot are read along, unchanged entries are taken over as they stand.

use std::path::Path;

use fardel_format::chunker::Chunker;
use fardel_format::lines::Moment;
use fardel_format::rope::{Layout, RopeBuilder};
use fardel_format::tree::{LeafSplitter, Node};
use fardel_source::{Entry, Event, ExcludedBy, Kind, Meta, Owners, Run, Stability, Tree, WalkOptions};

use super::content::{self, Piece};
use super::node;
use super::parent::{Found, ParentFolder};
use super::session::Session;
use crate::packs::{ChunkReader, Packer};
use crate::{Error, Result};

/// Longest line of a tree, in bytes; only extended attributes can make one so long.
const MAX_LINE: usize = 1 << 20;

/// A folder whose entries are being gathered.
struct OpenFolder<'a> {
    path: Vec<u8>,
    node: Node,
    leaf: Vec<u8>,
    rope: RopeBuilder,
    parents: Vec<ParentFolder<'a>>,
}

/// What can be saved of a tree at any moment: the folders that are open, and what is in them so far.
pub struct TreeSaver<'a> {
    tree: Tree,
    owners: &'a Owners,
    chunker: &'a Chunker,
    splitter: LeafSplitter,
    stack: Vec<OpenFolder<'a>>,
    buffer: Vec<u8>,
}

impl<'a> TreeSaver<'a> {
    /// Opens the folder at `root`; `parents` are its earlier states, the best first.
    ///
    /// # Errors
    /// [`Error::Source`] when it cannot be opened.
    pub fn open(
        root: &Path,
        owners: &'a Owners,
        chunker: &'a Chunker,
        splitter: LeafSplitter,
        parents: impl IntoIterator<Item = (&'a ChunkReader<'a>, Node, Moment)>,
    ) -> Result<Self> {
        let tree = Tree::open(root)?;
        let meta = tree.root_meta()?;
        let mut node = node::node(b"", &meta, owners);
        node.xattrs = node::xattrs(tree.xattrs(b"", &meta).unwrap_or_default(), |_| {});
        let parents = parents
            .into_iter()
            .map(|(chunks, node, trusted)| ParentFolder::open(chunks, Some(&node), trusted))
            .collect();
        let stack = vec![OpenFolder::new(Vec::new(), node, parents)];
        Ok(Self { tree, owners, chunker, splitter, stack, buffer: Vec::new() })
    }

    /// Walks and saves everything; `Err` leaves what was gathered, for [`Self::so_far`].
    ///
    /// # Errors
    /// When the store fails or the user stops it. What cannot be read is reported to the session instead.
    pub fn run(&mut self, session: &mut Session<'_>, options: WalkOptions) -> Result<()> {
        let walk = self.tree.walk(options);
        for event in walk {
            match event {
                Event::Enter(entry) => self.enter(session, entry),
                Event::Leave => self.leave(session)?,
                Event::Entry(entry) => self.entry(session, entry)?,
                Event::Excluded { path, why } => {
                    session.excluded(&self.tree.path().join(as_path(&path)), why != ExcludedBy::Pattern)
                }
                Event::Failed { path, error } => {
                    if let Some(folder) = self.stack.last_mut().filter(|folder| folder.path == path) {
                        // It looks empty or shorter than it is: whoever reads the snapshot must know.
                        folder.node.inconsistent = Some(format!("not all of it could be listed: {error}"));
                    }
                    session.unreadable(error);
                }
            }
            session.pause(|packer| self.so_far(packer))?;
        }
        Ok(())
    }

    /// The root as it is now, with everything that was gathered so far.
    ///
    /// # Errors
    /// When the store fails.
    pub fn so_far(&self, packer: &mut Packer) -> Result<Node> {
        let mut below: Option<Node> = None;
        for folder in self.stack.iter().rev() {
            let mut rope = folder.rope.clone();
            let mut leaf = folder.leaf.clone();
            if let Some(node) = &below {
                leaf.extend_from_slice(&node.to_line());
            }
            below = Some(finish(packer, folder.node.clone(), &leaf, &mut rope)?);
        }
        below.ok_or_else(|| Error::Invalid("the tree was never opened".into()))
    }

    fn enter(&mut self, session: &mut Session<'_>, entry: Entry) {
        let mut node = node::node(entry.name(), &entry.meta, self.owners);
        node.xattrs = self.xattrs(session, &entry);
        let top = self.stack.last_mut().expect("the root is open");
        let parents = top.parents.iter_mut().map(|parent| parent.enter(entry.name())).collect();
        self.stack.push(OpenFolder::new(entry.path, node, parents));
        session.folder();
    }

    fn leave(&mut self, session: &mut Session<'_>) -> Result<()> {
        let OpenFolder { path, node, leaf, mut rope, .. } = self.stack.pop().expect("a folder was entered");
        let name = node.name_bytes().map_err(|e| Error::object("a folder", e))?.into_owned();
        let mut node = finish(&mut session.packer, node, &leaf, &mut rope)?;
        let line = self.line(session, &path, &mut node);
        self.add_line(&mut session.packer, &name, &line)
    }

    fn add_line(&mut self, packer: &mut Packer, name: &[u8], line: &[u8]) -> Result<()> {
        let top = self.stack.last_mut().expect("the root is open");
        top.leaf.extend_from_slice(line);
        if self.splitter.ends_after(name, top.leaf.len()) {
            let id = packer.put_listing(&top.leaf)?;
            top.rope.push(Some(id), 0, &mut |leaf: &[u8]| packer.put_listing(leaf))?;
            top.leaf.clear();
        }
        Ok(())
    }

    fn entry(&mut self, session: &mut Session<'_>, entry: Entry) -> Result<()> {
        let top = self.stack.last_mut().expect("the root is open");
        let mut known = false;
        for parent in &mut top.parents {
            match parent.find(entry.name(), &entry.meta) {
                Found::Same => {
                    let line = parent.line().to_vec();
                    session.unmodified(&entry.meta);
                    return self.add_line(&mut session.packer, entry.name(), &line);
                }
                Found::Changed => known = true,
                Found::New => {}
            }
        }
        let mut node = if entry.meta.kind == Kind::File {
            match self.file(session, &entry) {
                Ok(node) => node,
                Err(Error::Source(error)) => {
                    session.unreadable(error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        } else {
            let mut node = node::node(entry.name(), &entry.meta, self.owners);
            node.xattrs = self.xattrs(session, &entry);
            node
        };
        session.saved(&entry.meta, known);
        let line = self.line(session, &entry.path, &mut node);
        self.add_line(&mut session.packer, entry.name(), &line)
    }

    fn file(&mut self, session: &mut Session<'_>, entry: &Entry) -> Result<Node> {
        let mut reader = self.tree.open_file(&entry.path, &entry.meta)?;
        let mut node = node::node(entry.name(), reader.meta(), self.owners);
        node.xattrs = node::xattrs(reader.xattrs()?, |name| session.lost_xattr(&entry.path, name));
        let (monitor, counters) = (session.monitor, session.monitor.counters());
        let (packer, report) = (&mut session.packer, &mut session.report);
        let (rope, size) = content::store(packer, self.chunker, &mut self.buffer, |buffer| {
            if monitor.interrupted() {
                return Err(Error::Interrupted);
            }
            let before = buffer.len();
            let run = reader.next(buffer, content::READ)?;
            let read = (buffer.len() - before) as u64;
            counters.done(0, read);
            report.bytes_read += read;
            Ok(match run {
                Run::Data => Piece::Data,
                Run::Hole(len) => Piece::Hole(len),
                Run::End => Piece::End,
            })
        })?;
        node.content = Some(rope);
        node.size = size;
        if let Stability::Changed(why) = reader.finish()? {
            session.inconsistent(&self.tree.path().join(as_path(&entry.path)), &why);
            node.inconsistent = Some(why);
        }
        Ok(node)
    }

    /// The entry's line. Attributes that make it longer than a reader takes are left out, and that is told.
    fn line(&self, session: &mut Session<'_>, path: &[u8], node: &mut Node) -> Vec<u8> {
        let line = node.to_line();
        if line.len() <= MAX_LINE {
            return line;
        }
        node.xattrs.clear();
        session.oversized_xattrs(&self.tree.path().join(as_path(path)));
        node.to_line()
    }

    fn xattrs(&self, session: &mut Session<'_>, entry: &Entry) -> Vec<fardel_format::tree::Xattr> {
        match self.tree.xattrs(&entry.path, &entry.meta) {
            Ok(found) => node::xattrs(found, |name| session.lost_xattr(&entry.path, name)),
            Err(error) => {
                session.unreadable(error);
                Vec::new()
            }
        }
    }
}

impl<'a> OpenFolder<'a> {
    fn new(path: Vec<u8>, node: Node, parents: Vec<ParentFolder<'a>>) -> Self {
        Self { path, node, leaf: Vec::new(), rope: RopeBuilder::new(Layout::Listing), parents }
    }
}

fn finish(packer: &mut Packer, mut node: Node, leaf: &[u8], rope: &mut RopeBuilder) -> Result<Node> {
    let mut rope = std::mem::replace(rope, RopeBuilder::new(Layout::Listing));
    if !leaf.is_empty() {
        let id = packer.put_listing(leaf)?;
        rope.push(Some(id), 0, &mut |leaf: &[u8]| packer.put_listing(leaf))?;
    }
    node.entries = Some(rope.finish(&mut |leaf: &[u8]| packer.put_listing(leaf))?);
    Ok(node)
}

fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// How much a walk would save, for progress: files and bytes.
pub fn measure(tree: &Tree, options: WalkOptions, mut add: impl FnMut(u64, u64) -> bool) {
    for event in tree.walk(options) {
        let more = match event {
            Event::Entry(Entry { meta: Meta { kind: Kind::File, size, .. }, .. }) => add(1, size),
            Event::Entry(_) => add(1, 0),
            _ => true,
        };
        if !more {
            return;
        }
    }
}
