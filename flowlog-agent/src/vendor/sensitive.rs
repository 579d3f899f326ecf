//! What is sensitive: by the user's namespaces and label selectors, and by shipped rules that tell data and secret stores.

use super::Image;
use crate::model::{Labels, Pod, Selector, glob};

/// Categories of the catalogue whose software keeps data or secrets.
const CATEGORIES: [&str; 4] = ["database", "queue", "secrets", "storage"];

/// Names of images that keep data or secrets, whoever packs them: the last part of a repository.
const IMAGES: [&str; 37] = [
    "cassandra",
    "clickhouse",
    "clickhouse-server",
    "cockroach",
    "couchbase",
    "couchdb",
    "elasticsearch",
    "etcd",
    "influxdb",
    "kafka",
    "keydb",
    "mariadb",
    "mariadb-galera",
    "memcached",
    "minio",
    "mongo",
    "mongodb",
    "mongodb-sharded",
    "mysql",
    "mysql-server",
    "neo4j",
    "openbao",
    "opensearch",
    "postgres",
    "postgresql",
    "postgresql-ha",
    "postgresql-repmgr",
    "rabbitmq",
    "redis",
    "redis-cluster",
    "redis-stack",
    "redis-stack-server",
    "scylla",
    "timescaledb",
    "timescaledb-ha",
    "valkey",
    "vault",
];

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SensitiveError {
    /// A selector that cannot be read.
    #[error("`sensitive.selectors`: {0}")]
    Selector(String),
    /// A namespace that can be none.
    #[error(
        "`sensitive.namespaces`: `{0}` is no name of a namespace, nor a pattern of such (`*` for any letters)"
    )]
    Namespace(String),
}

/// The rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensitive {
    namespaces: Vec<String>,
    selectors: Vec<Selector>,
    shipped: bool,
}

impl Default for Sensitive {
    /// What ships alone.
    fn default() -> Self {
        Self { namespaces: Vec::new(), selectors: Vec::new(), shipped: true }
    }
}

impl Sensitive {
    /// From namespaces (`*` for any letters), label selectors of pods as `kubectl get -l` takes them, and whether the
    /// rules that ship count, too.
    ///
    /// # Errors
    /// One of them can mean nothing.
    pub fn new<T: AsRef<str>>(
        namespaces: &[T],
        selectors: &[T],
        shipped: bool,
    ) -> Result<Self, SensitiveError> {
        let namespaces = namespaces.iter().map(AsRef::as_ref).map(|pattern: &str| {
            let is_of_names = |letter: char| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-*".contains(letter)
            };
            let is_pattern = !pattern.is_empty() && pattern.chars().all(is_of_names);
            if is_pattern {
                Ok(pattern.to_owned())
            } else {
                Err(SensitiveError::Namespace(pattern.to_owned()))
            }
        });
        let selectors = selectors
            .iter()
            .map(|written| Selector::parse(written.as_ref()).map_err(SensitiveError::Selector));
        Ok(Self {
            namespaces: namespaces.collect::<Result<_, _>>()?,
            selectors: selectors.collect::<Result<_, _>>()?,
            shipped,
        })
    }

    /// Why this pod is sensitive, by the rule's words; `categories` are those of its containers' vendors.
    pub fn why<'a>(&self, pod: &'a Pod, categories: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let images = pod.containers.iter().map(|container| &*container.image);
        self.why_of(&pod.namespace, &pod.labels, images, categories)
    }

    /// The same, of what else is told of a pod.
    pub fn why_of<'a>(
        &self,
        namespace: &str,
        labels: &Labels,
        images: impl IntoIterator<Item = &'a str>,
        categories: impl IntoIterator<Item = &'a str>,
    ) -> Option<String> {
        let by_namespace = self.namespaces.iter().find(|pattern| glob(pattern, namespace));
        if let Some(pattern) = by_namespace {
            return Some(format!("namespace {pattern}"));
        }
        if let Some(selector) = self.selectors.iter().find(|selector| selector.matches(labels)) {
            return Some(format!("labels {}", selector.written()));
        }
        if !self.shipped {
            return None;
        }
        if let Some(category) = categories.into_iter().find(|category| CATEGORIES.contains(category)) {
            return Some(format!("category {category}"));
        }
        let names = images.into_iter().filter_map(|image| Image::parse(image).ok());
        let stores = names.filter_map(|image| image.name.rsplit('/').next().map(str::to_owned));
        stores.into_iter().find(|name| IMAGES.contains(&name.as_str())).map(|name| format!("image {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{CATEGORIES, IMAGES, Sensitive};
    use crate::model::{Container, Pod};
    use crate::testkit::pod;
    use crate::vendor::Catalog;

    fn with_image(image: &str) -> Pod {
        let mut pod = Pod::clone(&pod("shop/db-0").label("app", "db").build());
        pod.containers = [Container { image: image.to_owned(), ..Container::default() }].into();
        pod
    }

    #[test]
    fn the_users_rules_come_first_and_what_ships_can_be_switched_off() {
        let own = |shipped| Sensitive::new(&["pay*", "vault"], &["app=db,tier"], shipped).unwrap();
        let plain = with_image("registry.example.com/app:1");
        let in_pay = pod("payments/a").build();
        let labelled = pod("shop/a").label("app", "db").label("tier", "1").build();
        let redis = with_image("registry.example.com/mirror/redis:7");
        let rows = [
            ("the namespace", own(false).why(&in_pay, None), Some("namespace pay*")),
            ("the labels", own(true).why(&labelled, None), Some("labels app=db,tier")),
            ("neither", own(true).why(&plain, None), None),
            ("an image that ships", own(true).why(&redis, None), Some("image redis")),
            ("switched off", own(false).why(&redis, ["database"]), None),
            ("the category", own(true).why(&plain, ["observability", "secrets"]), Some("category secrets")),
            ("another category", Sensitive::default().why(&plain, Some("observability")), None),
            ("no more than its name", own(true).why(&with_image("bitnami/redis-exporter:1"), None), None),
            (
                "packed by others",
                own(true).why(&with_image("bitnami/postgresql:16"), None),
                Some("image postgresql"),
            ),
        ];
        for (name, why, expected) in rows {
            assert_eq!(why.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn what_can_mean_nothing_is_named() {
        let error = |namespaces: &[&str], selectors: &[&str]| {
            Sensitive::new(namespaces, selectors, true).unwrap_err().to_string()
        };
        assert_eq!(
            error(&["Pay"], &[]),
            "`sensitive.namespaces`: `Pay` is no name of a namespace, nor a pattern of such (`*` for any letters)"
        );
        assert!(error(&[], &["app=db", ""]).starts_with("`sensitive.selectors`: `` is no label selector"));
    }

    /// What ships speaks of categories that the catalogue has.
    #[test]
    fn the_shipped_rules_mean_something() {
        let catalog = Catalog::built_in().unwrap();
        for category in CATEGORIES {
            let of = |vendor: &crate::vendor::Vendor| vendor.category.as_deref() == Some(category);
            assert!(catalog.vendors().iter().any(of), "{category}");
        }
        assert!(IMAGES.is_sorted(), "in order, each once");
    }
}
