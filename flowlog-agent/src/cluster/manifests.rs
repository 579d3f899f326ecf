//! Folders of manifests: multi-document YAML or JSON, as written by people or by `kubectl get -o yaml`.
//!
//! Read in path order. Names that begin with a dot are left out: editors' files, and the folders of a
//! mounted ConfigMap, whose files are reached through the links beside them. What cannot be read is told
//! as a problem with its place, and the rest is read all the same; what a broken policy could decide is
//! unknown to whoever takes the rest.

use super::documents::{self, Document};
use super::objects::Objects;
use super::{ClusterError, Problem};
use crate::policy::Policy;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folders to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The cluster's objects.
    pub manifests: PathBuf,
    /// Policies in trial; where this is below `manifests`, what is in it is not declared.
    pub trial: Option<PathBuf>,
}

impl<P: Into<PathBuf>> From<P> for Folders {
    fn from(manifests: P) -> Self {
        Self { manifests: manifests.into(), trial: None }
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The folder with the cluster's objects.
    pub folder: PathBuf,
    /// The state of its files, taken before they were read.
    pub fingerprint: Fingerprint,
    /// The objects.
    pub objects: Objects,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// The state of a folder's files: equal as long as none of them was touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(Vec<FileState>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    path: PathBuf,
    /// Device, inode, length, and when content and inode changed, in seconds and nanoseconds; absent where
    /// the file cannot be looked at.
    state: Option<[i128; 7]>,
}

impl Folders {
    /// Where everything that is read of them really is, links followed: folders and files. The folders above
    /// are among it, since a folder may be replaced by another one.
    pub fn places(&self) -> BTreeSet<PathBuf> {
        let (mut files, mut places) = (Vec::new(), BTreeSet::new());
        for folder in std::iter::once(&self.manifests).chain(&self.trial) {
            // What cannot be listed is told by whoever reads it.
            let _ = walk(folder, &mut files, &mut places);
            let above =
                |path: &Path| Some(path.parent().filter(|above| *above != Path::new("/"))?.to_owned());
            let absolute = std::path::absolute(folder).ok();
            places.extend(absolute.as_deref().and_then(above));
            places.extend(folder.canonicalize().ok().as_deref().and_then(above));
        }
        places.extend(files.iter().filter_map(|file| file.canonicalize().ok()));
        places
    }
}

/// Takes the state of the folders' files, without reading them.
pub fn fingerprint(folders: &Folders) -> Result<Fingerprint, ClusterError> {
    let (manifests, trial) = both(folders)?;
    Ok(Fingerprint(manifests.into_iter().chain(trial).collect()))
}

/// The files of both folders.
fn both(folders: &Folders) -> Result<(Vec<FileState>, Vec<FileState>), ClusterError> {
    let Some(trial) = &folders.trial else { return Ok((files(&folders.manifests, None)?, Vec::new())) };
    let canonical = |path: &Path| {
        path.canonicalize().map_err(|source| ClusterError::Folder { path: path.to_owned(), source })
    };
    let inner = canonical(trial)?;
    if canonical(&folders.manifests)?.starts_with(&inner) {
        return Err(ClusterError::AllInTrial { manifests: folders.manifests.clone(), trial: trial.clone() });
    }
    Ok((files(&folders.manifests, Some(inner))?, files(trial, None)?))
}

fn state(of: &fs::Metadata) -> [i128; 7] {
    [
        of.dev().into(),
        of.ino().into(),
        of.size().into(),
        of.mtime().into(),
        of.mtime_nsec().into(),
        of.ctime().into(),
        of.ctime_nsec().into(),
    ]
}

/// Reads the folders. That of the policies in trial may be empty.
pub fn load(folders: &Folders) -> Result<Loaded, ClusterError> {
    load_and(folders, &mut |_| {})
}

/// The same, and shows each document to someone else before its objects are taken.
pub(super) fn load_and(
    folders: &Folders,
    look: &mut dyn FnMut(&Document<'_>),
) -> Result<Loaded, ClusterError> {
    let (manifests, trial) = both(folders)?;
    if manifests.is_empty() {
        return Err(ClusterError::Empty { path: folders.manifests.clone() });
    }
    let mut loaded = load_files(&manifests, look);
    if folders.trial.is_some() {
        loaded.add_trial(load_files(&trial, look));
    }
    loaded.folder.clone_from(&folders.manifests);
    loaded.fingerprint = Fingerprint(manifests.into_iter().chain(trial).collect());
    Ok(loaded)
}

fn load_files(files: &[FileState], look: &mut dyn FnMut(&Document<'_>)) -> Loaded {
    let (mut loaded, mut seen) = (Loaded::default(), BTreeSet::new());
    for file in files {
        // Two links to one file are one file.
        let identity = file.state.map(|[device, inode, ..]| (device, inode));
        if identity.is_none_or(|identity| seen.insert(identity)) {
            read(&file.path, &mut loaded, look);
        }
    }
    loaded
}

fn read(path: &Path, loaded: &mut Loaded, look: &mut dyn FnMut(&Document<'_>)) {
    match fs::read_to_string(path) {
        Ok(text) => loaded.add_text_and(path, &text, look),
        Err(error) => {
            loaded.objects.add_unread_text(path, None, "");
            let what = format!("cannot be read: {error}");
            loaded.problems.push(Problem { file: path.to_owned(), what, ..Problem::default() });
        }
    }
}

impl Loaded {
    /// Its policies, all of them in trial.
    ///
    /// # Errors
    /// Something of it cannot be read.
    pub fn into_trial(self) -> Result<Vec<Arc<Policy>>, ClusterError> {
        if !self.problems.is_empty() {
            return Err(ClusterError::Problems { path: self.folder, problems: self.problems });
        }
        let Objects { policies, trial, .. } = self.objects;
        let declared = policies.into_iter().map(|(policy, _)| policy);
        Ok(declared.chain(trial).map(Arc::new).collect())
    }

    /// Adds the documents of a file's text; its name tells JSON from YAML.
    pub fn add_text(&mut self, file: &Path, text: &str) {
        self.add_text_and(file, text, &mut |_| {});
    }

    pub(super) fn add_and(&mut self, document: Document<'_>, look: &mut dyn FnMut(&Document<'_>)) {
        look(&document);
        self.objects.add(&document.place, document.value, &mut self.problems);
    }

    /// The policies of a folder, in trial.
    pub(super) fn add_trial(&mut self, trial: Loaded) {
        let Loaded { objects, problems, .. } = trial;
        self.objects.add_trial(objects, &mut self.problems);
        self.problems.extend(problems);
    }

    pub(super) fn add_text_and(&mut self, file: &Path, text: &str, look: &mut dyn FnMut(&Document<'_>)) {
        for document in documents::split(file, text) {
            match document {
                Ok(document) => self.add_and(document, look),
                Err(unread) => {
                    self.objects.add_unread_text(file, unread.problem.document, unread.text);
                    self.problems.push(unread.problem);
                }
            }
        }
    }
}

/// The manifest files below a folder, in path order, but for those below `left_out`.
fn files(folder: &Path, left_out: Option<PathBuf>) -> Result<Vec<FileState>, ClusterError> {
    let (mut found, mut visited) = (Vec::new(), BTreeSet::from_iter(left_out));
    walk(folder, &mut found, &mut visited)?;
    found.sort();
    let state = |path: PathBuf| FileState { state: fs::metadata(&path).ok().map(|of| state(&of)), path };
    Ok(found.into_iter().map(state).collect())
}

fn walk(
    folder: &Path,
    found: &mut Vec<PathBuf>,
    visited: &mut BTreeSet<PathBuf>,
) -> Result<(), ClusterError> {
    let failed = |source| ClusterError::Folder { path: folder.to_owned(), source };
    // A link that leads back to a folder above it would never end.
    if !visited.insert(folder.canonicalize().map_err(failed)?) {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_hidden(&path) {
            continue;
        }
        if path.is_dir() {
            walk(&path, found, visited)?;
        } else if is_manifest(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| ["yaml", "yml", "json"].contains(&ending.to_ascii_lowercase().as_str()))
}
