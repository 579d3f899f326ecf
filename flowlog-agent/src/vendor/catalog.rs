//! The catalogue as it is written: the one that ships (`vendors.yaml`), and the user's, which adds to it.

use super::pattern::Pattern;
use crate::model::{Labels, Origin, glob};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

const BUILT_IN: &str = include_str!("../../vendors.yaml");

/// Why a catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No YAML, or another shape.
    #[error("line {line}: {reason}")]
    Malformed {
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// An entry that can mean nothing.
    #[error("{at}: {reason}")]
    Entry {
        /// Where: the list and the name of the entry.
        at: String,
        /// What is wrong.
        reason: String,
    },
}

/// A file of the user's; what ships has `platform` and `vendors` alone.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    mirrors: Vec<WrittenMirror>,
    first_party: WrittenFirstParty,
    platform: Vec<WrittenVendor>,
    vendors: Vec<WrittenVendor>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMirror {
    from: String,
    to: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenFirstParty {
    images: Vec<String>,
    namespaces: Vec<String>,
    labels: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenVendor {
    name: String,
    category: Option<String>,
    /// What is known of one of this name is forgotten.
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    charts: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    domains: Vec<String>,
}

/// Somebody whose software may run here.
#[derive(Clone, Debug)]
pub struct Vendor {
    /// The name, as it is told.
    pub name: Arc<str>,
    /// Third party, or platform.
    pub origin: Origin,
    /// What its software is for.
    pub category: Option<String>,
    pub(super) images: Vec<Rule<Pattern>>,
    pub(super) namespaces: Vec<Rule<String>>,
    pub(super) charts: Vec<String>,
    pub(super) names: Vec<String>,
    domains: Vec<String>,
    groups: Vec<String>,
}

/// A rule, and whether the user wrote it.
#[derive(Clone, Debug)]
pub(super) struct Rule<T> {
    pub(super) about: T,
    pub(super) is_users: bool,
}

/// Vendors, and what the user says is whose.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub(super) vendors: Vec<Vendor>,
    pub(super) own_images: Vec<Pattern>,
    pub(super) own_namespaces: Vec<String>,
    own_labels: BTreeMap<String, Vec<String>>,
    /// From a prefix, to a prefix; the longest first.
    mirrors: Vec<(String, String)>,
}

impl Catalog {
    /// The one that ships.
    ///
    /// # Errors
    /// It is broken, which a test rules out.
    pub fn built_in() -> Result<Self, CatalogError> {
        let mut catalog = Self::default();
        catalog.add(BUILT_IN, false)?;
        Ok(catalog)
    }

    /// Adds what the user's file says: to vendors of the same name, beside them, or in their place (`replace`).
    ///
    /// # Errors
    /// The file cannot be read, or has an entry that can mean nothing: nothing of it is taken then.
    pub fn extend(&mut self, text: &str) -> Result<(), CatalogError> {
        let mut extended = self.clone();
        extended.add(text, true)?;
        *self = extended;
        Ok(())
    }

    fn add(&mut self, text: &str, is_users: bool) -> Result<(), CatalogError> {
        let written: Option<Written> = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            CatalogError::Malformed {
                line: error.location().map_or(1, |location| location.line()),
                reason: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
            }
        })?;
        let Some(written) = written else { return Ok(()) };
        for mirror in written.mirrors {
            self.add_mirror(mirror)?;
        }
        let own = written.first_party;
        let entry = |at: &str| {
            let at = at.to_owned();
            move |reason| CatalogError::Entry { at, reason }
        };
        for image in &own.images {
            self.own_images.push(Pattern::parse(image).map_err(entry("first_party.images"))?);
        }
        self.own_namespaces.extend(own.namespaces);
        for (key, values) in own.labels {
            self.own_labels.entry(key).or_default().extend(values);
        }
        for vendor in written.platform {
            self.add_vendor(vendor, Origin::Platform, is_users)?;
        }
        for vendor in written.vendors {
            self.add_vendor(vendor, Origin::ThirdParty, is_users)?;
        }
        Ok(())
    }

    fn add_mirror(&mut self, mirror: WrittenMirror) -> Result<(), CatalogError> {
        let WrittenMirror { from, to } = mirror;
        let is_folder =
            |path: &str| path.ends_with('/') && path.len() > 1 && !path.contains(char::is_whitespace);
        if !is_folder(&from) || !is_folder(&to) {
            return Err(CatalogError::Entry {
                at: format!("mirrors, `{from}`"),
                reason: "`from` and `to` are folders of registries, and end in `/`".to_owned(),
            });
        }
        self.mirrors.push((from, to));
        self.mirrors.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        Ok(())
    }

    fn add_vendor(
        &mut self,
        written: WrittenVendor,
        origin: Origin,
        is_users: bool,
    ) -> Result<(), CatalogError> {
        let list = if origin == Origin::Platform { "platform" } else { "vendors" };
        let refuse =
            |reason: String| CatalogError::Entry { at: format!("{list}, `{}`", written.name), reason };
        if written.name.trim().is_empty() {
            return Err(refuse("it has no name".to_owned()));
        }
        let is_bare =
            [&written.images, &written.namespaces, &written.charts, &written.groups, &written.names]
                .iter()
                .all(|list| list.is_empty())
                && written.domains.is_empty();
        if is_bare {
            return Err(refuse("nothing tells what is its".to_owned()));
        }
        let patterns = written.images.iter().map(|image| Pattern::parse(image).map_err(refuse));
        let patterns: Vec<Pattern> = patterns.collect::<Result<_, _>>()?;
        let rule = |about| Rule { about, is_users };
        let place = self.vendors.iter().position(|known| known.name.eq_ignore_ascii_case(&written.name));
        let vendor = match place.and_then(|place| self.vendors.get_mut(place)) {
            Some(known) => {
                if written.replace {
                    *known = Vendor::bare(&written.name, origin);
                }
                known
            }
            None => {
                self.vendors.push(Vendor::bare(&written.name, origin));
                let last = self.vendors.len() - 1;
                &mut self.vendors[last]
            }
        };
        vendor.origin = origin;
        vendor.category = written.category.or(vendor.category.take());
        vendor.images.extend(patterns.into_iter().map(|about| Rule { about, is_users }));
        vendor.namespaces.extend(written.namespaces.into_iter().map(rule));
        vendor.charts.extend(written.charts);
        vendor.groups.extend(written.groups);
        vendor.names.extend(written.names);
        let domains = written.domains.iter().map(|domain| domain.trim_matches('.').to_ascii_lowercase());
        vendor.domains.extend(domains);
        Ok(())
    }

    /// What a mirror's image is a copy of, as the user says.
    pub(super) fn unmirror(&self, name: &str) -> Option<String> {
        let (from, to) = self.mirrors.iter().find(|(from, _)| name.starts_with(from.as_str()))?;
        Some(format!("{to}{}", name.get(from.len()..)?))
    }

    /// The first label that says it is the user's own, as `key=value`.
    pub(super) fn find_own_label(&self, labels: &Labels) -> Option<(String, String)> {
        self.own_labels.iter().find_map(|(key, values)| {
            let value = labels.get(key)?;
            let rule = values.iter().find(|pattern| glob(pattern, value));
            let rule = rule.map(|pattern| format!("{key}={pattern}"));
            let any = values.is_empty().then(|| key.clone());
            Some((format!("{key}={value}"), rule.or(any)?))
        })
    }

    /// All vendors, those that ship first.
    pub fn vendors(&self) -> &[Vendor] {
        &self.vendors
    }

    /// The vendor by name.
    pub fn find(&self, name: &str) -> Option<&Vendor> {
        self.vendors.iter().find(|vendor| vendor.name.eq_ignore_ascii_case(name))
    }

    /// The vendor that runs the service of this domain name.
    pub fn find_by_domain(&self, name: &str) -> Option<&Vendor> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.find_above(&name, |vendor| &vendor.domains).map(|(vendor, _)| vendor)
    }

    /// The vendor whose custom resources are of this API group, and by which of its groups.
    pub(super) fn find_by_group(&self, group: &str) -> Option<(&Vendor, &str)> {
        self.find_above(group, |vendor| &vendor.groups)
    }

    /// By the longest of the names that are this one, or above it.
    fn find_above(&self, name: &str, names: impl Fn(&Vendor) -> &Vec<String>) -> Option<(&Vendor, &str)> {
        let is_above = |above: &str| {
            name.strip_suffix(above).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let all =
            self.vendors.iter().flat_map(|vendor| names(vendor).iter().map(move |name| (vendor, &**name)));
        all.filter(|(_, above)| is_above(above)).max_by_key(|(_, above)| above.len())
    }
}

impl Vendor {
    fn bare(name: &str, origin: Origin) -> Self {
        Self {
            name: name.into(),
            origin,
            category: None,
            images: Vec::new(),
            namespaces: Vec::new(),
            charts: Vec::new(),
            names: Vec::new(),
            domains: Vec::new(),
            groups: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Catalog;
    use crate::model::Origin;
    use std::collections::BTreeMap;

    #[test]
    fn what_ships_is_whole() {
        let catalog = Catalog::built_in().unwrap();
        assert!(catalog.vendors().len() >= 60, "{}", catalog.vendors().len());
        let mut seen: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for vendor in catalog.vendors() {
            let images = vendor.images.iter().map(|rule| ("image", rule.about.written()));
            let lists = [("domain", &vendor.domains), ("group", &vendor.groups), ("chart", &vendor.charts)];
            let others =
                lists.into_iter().flat_map(|(list, rules)| rules.iter().map(move |rule| (list, &**rule)));
            for rule in images.chain(others) {
                let before = seen.insert(rule, &vendor.name);
                assert_eq!(before, None, "{rule:?} is {}'s, too", vendor.name);
            }
            let is_platform = vendor.origin == Origin::Platform;
            assert_eq!(vendor.category.is_none(), is_platform, "{}", vendor.name);
            let by_labels = [&vendor.charts, &vendor.names, &vendor.groups].map(Vec::len);
            let by_labels = by_labels.iter().sum::<usize>() + vendor.namespaces.len();
            assert!(!is_platform || by_labels == 0, "{}: anybody can write labels", vendor.name);
        }
    }

    #[test]
    fn a_domain_is_whose_it_lies_below() {
        let catalog = Catalog::built_in().unwrap();
        let rows = [
            ("intake.logs.datadoghq.com", Some("Datadog")),
            ("datadoghq.com.", Some("Datadog")),
            ("API.Anthropic.com", Some("Anthropic")),
            ("notdatadoghq.com", None),
            ("datadoghq.com.evil.example", None),
            ("my.atlas.mongodb.net", Some("MongoDB")),
            ("com", None),
        ];
        for (name, expected) in rows {
            assert_eq!(catalog.find_by_domain(name).map(|vendor| &*vendor.name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_users_file_is_named_and_nothing_of_it_is_taken() {
        let mut catalog = Catalog::built_in().unwrap();
        let before = catalog.vendors().len();
        for (text, why) in [
            ("vendors:\n  - name: A\n    image: [a/]\n", "line 3"),
            (
                "vendors:\n  - {name: A, images: [a.example/]}\n  - {name: B, images: [nginx]}\n",
                "vendors, `B`: `nginx`",
            ),
            ("vendors:\n  - name: A\n", "vendors, `A`: nothing tells"),
            ("mirrors:\n  - {from: reg.example, to: docker.io/}\n", "mirrors, `reg.example`"),
            ("first_party: {images: ['*/']}\n", "first_party.images"),
            ("vendors: 7\n", "line 1"),
        ] {
            let error = catalog.extend(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert_eq!(catalog.vendors().len(), before);
        }
        catalog.extend("# nothing\n").unwrap();
    }
}
