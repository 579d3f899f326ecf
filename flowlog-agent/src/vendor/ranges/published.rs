//! Files of ranges as clouds publish them, each known by its form: `ip-ranges.json` (AWS), `cloud.json` and `goog.json`
//! (Google), `ServiceTags_Public.json` (Azure), lists of Cloudflare's and Fastly's addresses, GitHub's `meta`.

use super::RangesError;
use super::spans::Gathered;
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Blocks that Cloudflare has had since it publishes its list, which itself does not say whose it is.
const CLOUDFLARE: [&str; 2] = ["173.245.48.0/20", "2400:cb00::/32"];

/// A block and what is told of it, with a rank: of equal blocks that of the lowest counts.
type Told = (IpNet, String, u8);

pub(super) fn read(text: &str, into: &mut Gathered) -> Result<&'static str, RangesError> {
    let (vendor, mut all) = match Form::of(text)? {
        Form::Aws => ("Amazon", aws(text)?),
        Form::Google => ("Google", google(text)?),
        Form::Azure => ("Microsoft", azure(text)?),
        Form::Fastly => ("Fastly", fastly(text)?),
        Form::GitHub => ("GitHub", github(text)?),
        Form::Cloudflare => ("Cloudflare", cloudflare(text)?),
        Form::List => ("Cloudflare", list(text)?),
    };
    if all.is_empty() {
        return Err(RangesError::Empty);
    }
    all.sort_by_key(|(.., rank)| *rank);
    for (block, name, _) in all {
        into.add_block(block, &name, vendor)?;
    }
    Ok(vendor)
}

enum Form {
    Aws,
    Google,
    Azure,
    Fastly,
    GitHub,
    Cloudflare,
    /// A block a line.
    List,
}

/// Keys that tell one form from another; what stands under them is passed over.
#[derive(Deserialize)]
struct Keys {
    prefixes: Option<IgnoredAny>,
    ipv6_prefixes: Option<IgnoredAny>,
    values: Option<IgnoredAny>,
    addresses: Option<IgnoredAny>,
    ipv6_addresses: Option<IgnoredAny>,
    hooks: Option<IgnoredAny>,
    web: Option<IgnoredAny>,
    result: Option<IgnoredAny>,
}

impl Form {
    fn of(text: &str) -> Result<Self, RangesError> {
        if !text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[']) {
            return Ok(Self::List);
        }
        let keys: Keys = json(text)?;
        Ok(match keys {
            Keys { prefixes: Some(_), ipv6_prefixes: Some(_), .. } => Self::Aws,
            Keys { prefixes: Some(_), .. } => Self::Google,
            Keys { values: Some(_), .. } => Self::Azure,
            Keys { addresses: Some(_), ipv6_addresses: Some(_), .. } => Self::Fastly,
            Keys { hooks: Some(_), web: Some(_), .. } => Self::GitHub,
            Keys { result: Some(_), .. } => Self::Cloudflare,
            _ => return Err(RangesError::Unrecognised),
        })
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, RangesError> {
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| RangesError::Malformed {
        line: u64::try_from(error.line()).unwrap_or(u64::MAX),
        reason: error.to_string(),
    })
}

fn block(written: &str, at: impl FnOnce() -> String) -> Result<IpNet, RangesError> {
    let alone = || written.parse::<IpAddr>().ok().map(IpNet::from);
    let block = written.parse::<IpNet>().ok().or_else(alone);
    block.map(|block| block.trunc()).ok_or_else(|| RangesError::Block { at: at(), value: written.to_owned() })
}

/// `aws/S3/eu-west-1`: provider, service, region, as far as they are told.
fn named(provider: &str, service: &str, region: &str) -> String {
    let parts = [provider, service, region];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

#[derive(Deserialize)]
struct Aws {
    prefixes: Vec<AwsBlock>,
    ipv6_prefixes: Vec<AwsBlock>,
}

#[derive(Deserialize)]
struct AwsBlock {
    #[serde(alias = "ipv6_prefix")]
    ip_prefix: String,
    region: String,
    service: String,
}

fn aws(text: &str) -> Result<Vec<Told>, RangesError> {
    let Aws { prefixes, ipv6_prefixes } = json(text)?;
    let told = prefixes.into_iter().chain(ipv6_prefixes).map(|AwsBlock { ip_prefix, region, service }| {
        // Every block is listed under AMAZON, and those of services on its machines under EC2, too.
        let rank = match &*service {
            "AMAZON" => 2,
            "EC2" => 1,
            _ => 0,
        };
        let block = block(&ip_prefix, || format!("prefixes of {service} in {region}"))?;
        let service = if service == "AMAZON" { "" } else { &service };
        Ok((block, named("aws", service, &region), rank))
    });
    told.collect()
}

#[derive(Deserialize)]
struct Google {
    prefixes: Vec<GoogleBlock>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GoogleBlock {
    #[serde(alias = "ipv6Prefix")]
    ipv4_prefix: String,
    service: Option<String>,
    scope: Option<String>,
}

fn google(text: &str) -> Result<Vec<Told>, RangesError> {
    let Google { prefixes } = json(text)?;
    let told = prefixes.into_iter().map(|GoogleBlock { ipv4_prefix, service, scope }| {
        let block = block(&ipv4_prefix, || "prefixes".to_owned())?;
        // `goog.json` has all that is Google's, its customers' among it, and says no more.
        let provider = if service.is_some() || scope.is_some() { "gcp" } else { "google" };
        let service = service.filter(|service| service != "Google Cloud").unwrap_or_default();
        let name = named(provider, &service, scope.as_deref().unwrap_or_default());
        Ok((block, name, u8::from(provider == "google")))
    });
    told.collect()
}

#[derive(Deserialize)]
struct Azure {
    values: Vec<AzureTag>,
}

#[derive(Deserialize)]
struct AzureTag {
    name: String,
    properties: AzureProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AzureProperties {
    #[serde(default)]
    region: String,
    address_prefixes: Vec<String>,
}

fn azure(text: &str) -> Result<Vec<Told>, RangesError> {
    let Azure { values } = json(text)?;
    let mut told = Vec::new();
    // A block is listed under its service, its service in its region, and all of Azure: what tells most comes first, and of
    // several services the one that has fewest blocks.
    let mut tags: Vec<&AzureTag> = values.iter().collect();
    tags.sort_by_key(|tag| tag.properties.address_prefixes.len());
    for tag in tags {
        let AzureProperties { region, address_prefixes } = &tag.properties;
        let service = tag.name.split_once('.').map_or(&*tag.name, |(service, _)| service);
        let rank = 2 * u8::from(service == "AzureCloud") + u8::from(region.is_empty());
        let service = if service == "AzureCloud" { "" } else { service };
        for written in address_prefixes {
            let block = block(written, || format!("addressPrefixes of {}", tag.name))?;
            told.push((block, named("azure", service, region), rank));
        }
    }
    Ok(told)
}

#[derive(Deserialize)]
struct Fastly {
    addresses: Vec<String>,
    ipv6_addresses: Vec<String>,
}

fn fastly(text: &str) -> Result<Vec<Told>, RangesError> {
    let Fastly { addresses, ipv6_addresses } = json(text)?;
    let all = addresses.iter().chain(&ipv6_addresses);
    all.map(|written| Ok((block(written, || "addresses".to_owned())?, "fastly".to_owned(), 0))).collect()
}

fn github(text: &str) -> Result<Vec<Told>, RangesError> {
    let lists: BTreeMap<String, Value> = json(text)?;
    let mut told: BTreeMap<(IpNet, Reverse<u8>), Option<String>> = BTreeMap::new();
    for (service, list) in lists {
        let words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        // Keys of its servers stand in a list, too; one that has blocks has nothing else.
        let read = words.iter().map(|written| block(written, || service.clone()));
        let (blocks, mut failed): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
        if !blocks.is_empty() && !failed.is_empty() {
            return Err(failed.swap_remove(0).err().unwrap_or(RangesError::Unrecognised));
        }
        for block in blocks.into_iter().flatten() {
            let of = told.entry((block, Reverse(block.prefix_len()))).or_insert(Some(service.clone()));
            // What several services have in common is no particular one's.
            if of.as_ref().is_some_and(|of| *of != service) {
                *of = None;
            }
        }
    }
    let told = told.into_iter();
    Ok(told
        .map(|((block, _), service)| (block, named("github", service.as_deref().unwrap_or_default(), ""), 0))
        .collect())
}

#[derive(Deserialize)]
struct Cloudflare {
    result: CloudflareResult,
}

#[derive(Deserialize)]
struct CloudflareResult {
    ipv4_cidrs: Vec<String>,
    ipv6_cidrs: Vec<String>,
}

fn cloudflare(text: &str) -> Result<Vec<Told>, RangesError> {
    let CloudflareResult { ipv4_cidrs, ipv6_cidrs } = json::<Cloudflare>(text)?.result;
    let all = ipv4_cidrs.iter().chain(&ipv6_cidrs);
    all.map(|written| Ok((block(written, || "result".to_owned())?, "cloudflare".to_owned(), 0))).collect()
}

/// `ips-v4` and `ips-v6`, or both in one.
fn list(text: &str) -> Result<Vec<Told>, RangesError> {
    let lines = text.trim_start_matches('\u{feff}').lines().zip(1..);
    let lines = lines.map(|(line, number): (&str, u64)| (line.trim(), number));
    let written = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let told = written
        .map(|(line, number)| Ok((block(line, || format!("line {number}"))?, "cloudflare".to_owned(), 0)));
    let told: Vec<Told> = told.collect::<Result<_, RangesError>>()?;
    let is_its = |(block, ..): &Told| CLOUDFLARE.iter().any(|known| block.to_string() == **known);
    if told.is_empty() || told.iter().any(is_its) { Ok(told) } else { Err(RangesError::Unrecognised) }
}
