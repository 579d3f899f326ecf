use super::{RangesBuilder, RangesError};
use crate::testkit::ip;

const AWS: &str = r#"{"syncToken": "1", "createDate": "2026-11-01-00-00-00", "prefixes": [
  {"ip_prefix": "3.5.64.0/21", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1"},
  {"ip_prefix": "3.5.64.0/21", "region": "eu-west-1", "service": "S3", "network_border_group": "eu-west-1"},
  {"ip_prefix": "3.5.64.0/21", "region": "eu-west-1", "service": "EC2", "network_border_group": "eu-west-1"},
  {"ip_prefix": "3.5.0.0/16", "region": "GLOBAL", "service": "AMAZON", "network_border_group": "GLOBAL"}
], "ipv6_prefixes": [
  {"ipv6_prefix": "2a05:d07a:a000::/40", "region": "eu-south-1", "service": "AMAZON", "network_border_group": "x"},
  {"ipv6_prefix": "2a05:d07a:a000::/40", "region": "eu-south-1", "service": "S3", "network_border_group": "x"}
]}"#;

const GOOGLE: &str = r#"{"syncToken": "1", "creationTime": "2026-11-01T00:00:00", "prefixes": [
  {"ipv4Prefix": "34.35.0.0/16", "service": "Google Cloud", "scope": "africa-south1"},
  {"ipv6Prefix": "2600:1900:8000::/44", "service": "Google Cloud", "scope": "africa-south1"}]}"#;

const GOOG: &str = r#"{"syncToken": "1", "creationTime": "x", "prefixes": [{"ipv4Prefix": "8.8.4.0/24"},
  {"ipv4Prefix": "34.35.0.0/16"}]}"#;

const AZURE: &str = "\u{feff}{\"changeNumber\": 1, \"cloud\": \"Public\", \"values\": [
  {\"name\": \"AzureCloud\", \"id\": \"AzureCloud\", \"properties\": {\"changeNumber\": 1, \"region\": \"\", \"regionId\": 0,
   \"platform\": \"Azure\", \"systemService\": \"\", \"addressPrefixes\": [\"20.38.98.0/24\", \"20.38.0.0/16\", \"2603:1000::/32\"]}},
  {\"name\": \"AzureCloud.westeurope\", \"properties\": {\"region\": \"westeurope\", \"addressPrefixes\": [\"20.38.98.0/24\", \"20.38.99.0/24\"]}},
  {\"name\": \"Storage\", \"properties\": {\"region\": \"\", \"addressPrefixes\": [\"20.38.98.0/24\"]}},
  {\"name\": \"Storage.WestEurope\", \"properties\": {\"region\": \"westeurope\", \"addressPrefixes\": [\"20.38.98.0/24\"]}}]}";

const FASTLY: &str = r#"{"addresses": ["23.235.32.0/20"], "ipv6_addresses": ["2a04:4e40::/32"]}"#;

const GITHUB: &str = r#"{"verifiable_password_authentication": false, "ssh_keys": ["ssh-ed25519 AAAA"],
  "hooks": ["192.30.252.0/22"], "web": ["192.30.252.0/22"], "actions": ["4.148.0.0/16"], "domains": {"website": ["*.github.com"]}}"#;

const CLOUDFLARE: &str = "173.245.48.0/20\n103.21.244.0/22\n";
const CLOUDFLARE_API: &str = r#"{"result": {"ipv4_cidrs": ["173.245.48.0/20"], "ipv6_cidrs": ["2400:cb00::/32"], "etag": "x"}, "success": true}"#;

fn published(texts: &[&str]) -> super::Ranges {
    let mut builder = RangesBuilder::default();
    for text in texts {
        builder.read_published(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
    builder.build()
}

fn announced(text: &str) -> super::Ranges {
    let mut builder = RangesBuilder::default();
    builder.read_announced(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    builder.build()
}

/// `network vendor`.
fn told(ranges: &super::Ranges, address: &str) -> String {
    ranges.find(ip(address)).map_or_else(String::new, |found| format!("{} {}", found.name, found.vendor))
}

#[test]
fn each_form_is_known_by_itself_and_what_tells_most_counts() {
    let all = [AWS, GOOGLE, GOOG, AZURE, FASTLY, GITHUB, CLOUDFLARE, CLOUDFLARE_API];
    let ranges = published(&all);
    let rows = [
        ("3.5.64.1", "aws/S3/eu-west-1 Amazon"),
        ("3.5.71.255", "aws/S3/eu-west-1 Amazon"),
        ("3.5.72.0", "aws/GLOBAL Amazon"),
        ("3.5.63.255", "aws/GLOBAL Amazon"),
        ("::ffff:3.5.64.1", "aws/S3/eu-west-1 Amazon"),
        ("3.6.0.0", ""),
        ("2a05:d07a:a0ff::1", "aws/S3/eu-south-1 Amazon"),
        ("34.35.9.9", "gcp/africa-south1 Google"),
        ("2600:1900:8000::5", "gcp/africa-south1 Google"),
        ("8.8.4.4", "google Google"),
        ("20.38.98.7", "azure/Storage/westeurope Microsoft"),
        ("20.38.99.7", "azure/westeurope Microsoft"),
        ("20.38.1.1", "azure Microsoft"),
        ("2603:1000::1", "azure Microsoft"),
        ("23.235.47.255", "fastly Fastly"),
        ("2a04:4e40::1", "fastly Fastly"),
        ("192.30.255.113", "github GitHub"),
        ("4.148.1.1", "github/actions GitHub"),
        ("103.21.247.1", "cloudflare Cloudflare"),
        ("2400:cb00::1", "cloudflare Cloudflare"),
        ("198.51.100.1", ""),
    ];
    for (address, expected) in rows {
        assert_eq!(told(&ranges, address), expected, "{address}");
    }
}

#[test]
fn tables_of_autonomous_systems_are_read_in_their_forms() {
    let iptoasn = "1.0.0.0\t1.0.0.255\t13335\tUS\tCLOUDFLARENET\n1.0.1.0\t1.0.3.255\t0\tNone\tNot routed\n\
                   2001:200::\t2001:200:5ff:ffff:ffff:ffff:ffff:ffff\t2500\tJP\tWIDE-BB WIDE Project\n";
    let geolite = "network,autonomous_system_number,autonomous_system_organization\n\
                   1.0.0.0/24,13335,\"CLOUDFLARENET, \"\"Inc\"\"\"\n2001:200::/32,2500,WIDE\n";
    let ipinfo = "start_ip,end_ip,asn,name,domain\n1.0.0.0,1.0.0.255,AS13335,CLOUDFLARENET,cloudflare.com\n";
    let bare = "# made by hand\n1.0.0.0/24,13335,CLOUDFLARENET\n\n1.0.4.0/22,38803\n";
    let rows = [
        (iptoasn, "1.0.0.9", "AS13335 CLOUDFLARENET"),
        (iptoasn, "1.0.2.9", ""),
        (iptoasn, "2001:200:5::1", "AS2500 WIDE-BB WIDE Project"),
        (iptoasn, "2001:200:600::1", ""),
        (geolite, "1.0.0.9", "AS13335 CLOUDFLARENET, \"Inc\""),
        (geolite, "2001:200:5::1", "AS2500 WIDE"),
        (ipinfo, "1.0.0.255", "AS13335 CLOUDFLARENET"),
        (bare, "1.0.0.1", "AS13335 CLOUDFLARENET"),
        (bare, "1.0.7.1", "AS38803 AS38803"),
    ];
    for (table, address, expected) in rows {
        assert_eq!(told(&announced(table), address), expected, "{address} in {table}");
    }
}

#[test]
fn what_a_cloud_publishes_counts_before_who_announces_it() {
    let mut builder = RangesBuilder::default();
    builder.read_announced("3.0.0.0/8,16509,AMAZON-02\n".as_bytes()).unwrap();
    builder.read_published(AWS).unwrap();
    let ranges = builder.build();
    assert_eq!(told(&ranges, "3.5.64.1"), "aws/S3/eu-west-1 Amazon");
    assert_eq!(told(&ranges, "3.9.0.1"), "AS16509 AMAZON-02");
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let read = |text: &str| RangesBuilder::default().read_published(text).unwrap_err().to_string();
    for (text, why) in [
        ("{\"prefixes\": [\n{\"ipv4Prefix\": 7}]}", "line 2: "),
        (
            "{\"prefixes\": [{\"ipv4Prefix\": \"10.0.0.0/33\"}]}",
            "prefixes: `10.0.0.0/33` is no address block",
        ),
        ("{\"prefixes\": []}", "it has no ranges in it"),
        ("{\"a\": 1}", "these are no ranges as AWS"),
        ("10.0.0.0/8\n", "these are no ranges as AWS"),
        ("173.245.48.0/20\nnonsense\n", "line 2: `nonsense` is no address block"),
        ("", "it has no ranges in it"),
        (r#"{"hooks": ["192.30.252.0/22", "x"], "web": []}"#, "hooks: `x` is no address block"),
    ] {
        assert!(read(text).starts_with(why), "{text}: {}", read(text));
    }
    let read = |text: &str| RangesBuilder::default().read_announced(text.as_bytes()).unwrap_err();
    for (text, why) in [
        ("a,b,c\n", "line 1: no table of autonomous systems"),
        ("1.0.0.0/24,13335,X\n1.0.0.0/24,x,X\n", "line 2: `x` is no number of an AS"),
        ("1.0.0.0/24,13335,X\n1.0.0/24,5,X\n", "line 2: `1.0.0/24` is no address block"),
        ("1.0.0.9,1.0.0.1,5,DE,X\n", "line 1: 1.0.0.9 to 1.0.0.1 is no range"),
        ("1.0.0.9,2001::,5,DE,X\n", "line 1: 1.0.0.9 to 2001:: is no range"),
        ("1.0.0.0\t1.0.3.255\t0\tNone\tNot routed\n", "it has no ranges in it"),
    ] {
        assert_eq!(read(text).to_string().get(..why.len()), Some(why), "{text}");
    }
    assert!(matches!(read("\u{feff}"), RangesError::Empty));
}

/// Against the narrowest of all blocks, looked for one by one.
mod random {
    use super::super::spans::Gathered;
    use ipnet::{IpNet, Ipv4Net, Ipv6Net};
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn block() -> impl Strategy<Value = IpNet> {
        // Few addresses, so that they meet; the ends of both families among them.
        let v4 = (prop_oneof![0u32..64, (u32::MAX - 64)..=u32::MAX], 24u8..=32)
            .prop_map(|(ip, length)| IpNet::V4(Ipv4Net::new(ip.into(), length).unwrap().trunc()));
        let v6 = (prop_oneof![0u128..64, (u128::MAX - 64)..=u128::MAX], 120u8..=128)
            .prop_map(|(ip, length)| IpNet::V6(Ipv6Net::new(ip.into(), length).unwrap().trunc()));
        prop_oneof![v4, v6]
    }

    fn addresses() -> impl Iterator<Item = IpAddr> {
        let v4 = (0..320u32).chain(u32::MAX - 320..=u32::MAX).map(|ip| IpAddr::V4(ip.into()));
        let v6 = (0..320u128).chain(u128::MAX - 320..=u128::MAX).map(|ip| IpAddr::V6(ip.into()));
        v4.chain(v6.filter(|ip| ip.to_canonical().is_ipv6()))
    }

    proptest! {
        #[test]
        fn the_narrowest_counts_and_of_equal_ones_the_first(blocks in prop::collection::vec(block(), 0..24)) {
            let mut gathered = Gathered::default();
            for (place, block) in blocks.iter().enumerate() {
                gathered.add_block(*block, &place.to_string(), "v").unwrap();
            }
            let spans = gathered.build();
            for ip in addresses() {
                let holding = blocks.iter().enumerate().filter(|(_, block)| block.contains(&ip));
                // Of several that are as long the last one would be taken.
                let narrowest = holding.rev().max_by_key(|(_, block)| block.prefix_len());
                let expected = narrowest.map(|(place, _)| place.to_string());
                prop_assert_eq!(spans.find(ip).map(|(name, _)| name.to_owned()), expected, "{}", ip);
            }
        }
    }
}
