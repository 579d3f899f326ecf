//! Scanners' reports: files, folders of them, and the objects of the operator that scans in the cluster.

use super::super::source::Live;
use crate::model::{FindingId, ImageScan, InputProblem, Limit, ScanRead};
use crate::scan;
use anyhow::Context as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What was read.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) scans: Vec<ImageScan>,
    pub(super) read: Vec<ScanRead>,
    /// There are, or may be, reports that could not be read.
    pub(super) is_partial: bool,
    /// What that leaves open.
    pub(super) limits: Vec<Limit>,
}

impl Scanned {
    /// Files, and all `*.json` in folders. A report that cannot be read is a problem; a path that is not there an error.
    pub(super) fn files(
        &mut self,
        paths: &[PathBuf],
        problems: &mut Vec<InputProblem>,
    ) -> anyhow::Result<()> {
        for path in paths {
            let about = fs::metadata(path).with_context(|| format!("read the report {}", path.display()))?;
            if about.is_dir() {
                for file in in_folder(path)? {
                    self.file(&file, problems);
                }
            } else {
                self.file(path, problems);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, problems: &mut Vec<InputProblem>) {
        let name = path.display().to_string();
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                problems.push(InputProblem {
                    file: name,
                    line: None,
                    what: format!("cannot be read: {error}"),
                });
                return;
            }
        };
        match scan::read(&name, &bytes) {
            Ok(report) => self.take(name, report),
            Err(error) => {
                let line = match &error {
                    scan::ScanError::Malformed { line, .. } => Some(*line),
                    _ => None,
                };
                problems.push(InputProblem {
                    file: name,
                    line,
                    what: format!("no report that can be used: {error}"),
                });
            }
        }
    }

    fn take(&mut self, from: String, report: scan::Report) {
        let images = u64::try_from(report.scans.len()).unwrap_or(u64::MAX);
        self.read.push(ScanRead { from, format: report.format.to_owned(), images });
        self.scans.extend(report.scans);
    }

    /// Those of the cluster, where it has such kinds.
    pub(super) fn live(&mut self, live: &Live, problems: &mut Vec<InputProblem>) {
        let mut absent = Vec::new();
        for resource in scan::RESOURCES {
            let refuse = |what: String| InputProblem { file: "live".to_owned(), line: None, what };
            let objects = match live.list(scan::API_VERSION, resource.kind, resource.plural) {
                Ok(Some(objects)) => objects,
                Ok(None) => {
                    absent.push(resource.plural);
                    continue;
                }
                Err(error) => {
                    let why = format!("{} could not be read: {error:#}", resource.plural);
                    self.is_partial = true;
                    self.limit(format!("what the cluster's scanner knows of images is not known: {why}"));
                    problems.push(refuse(why));
                    continue;
                }
            };
            let mut images = 0;
            for object in &objects {
                match scan::read_object(object, None) {
                    Ok(scan) => {
                        images += 1;
                        self.scans.push(scan);
                    }
                    Err(error) => {
                        problems.push(refuse(format!("a {} is not understood: {error}", resource.kind)));
                    }
                }
            }
            self.read.push(ScanRead { from: "live".to_owned(), format: resource.format.to_owned(), images });
        }
        // The operator may well not be there: nothing that was asked for is missing.
        if !absent.is_empty() {
            let group = scan::API_VERSION.split('/').next().unwrap_or_default();
            let kinds = absent.join(" and ");
            self.limit(format!("the cluster does not have the Trivy operator's {kinds} ({group})"));
        }
    }

    fn limit(&mut self, what: String) {
        self.limits.push(Limit { ids: vec![FindingId::FL403, FindingId::FL404], what });
    }
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let tried = || format!("list the folder {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(tried)? {
        let path = entry.with_context(tried)?.path();
        if path.is_dir() {
            files.extend(in_folder(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
