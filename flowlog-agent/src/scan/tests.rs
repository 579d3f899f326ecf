use super::{ScanError, read};
use serde_json::json;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn bytes(value: &serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

#[test]
fn trivy_counts_each_id_once_as_bad_as_it_is_anywhere() {
    let report = json!({
        "SchemaVersion": 2, "ArtifactName": "grafana/grafana:11.1.0", "ArtifactType": "container_image",
        "Metadata": {"ImageID": "sha256:aa", "RepoDigests": [format!("grafana/grafana@{DIGEST}")]},
        "Results": [
            {"Target": "alpine", "Vulnerabilities": [
                {"VulnerabilityID": "CVE-1", "Severity": "LOW", "PkgName": "a"},
                {"VulnerabilityID": "CVE-1", "Severity": "CRITICAL", "FixedVersion": "2", "PkgName": "b"},
                {"VulnerabilityID": "CVE-2", "Severity": "HIGH"}]},
            {"Target": "go", "Vulnerabilities": [{"VulnerabilityID": "CVE-3", "Severity": "UNKNOWN"}]},
            {"Target": "nothing"}],
    });
    let read = read("a.json", &bytes(&report)).unwrap();
    assert_eq!(read.format, "trivy");
    let [scan] = read.scans.as_slice() else { panic!("{read:?}") };
    assert_eq!(scan.image.as_deref(), Some("grafana/grafana:11.1.0"));
    assert_eq!(scan.digests, [DIGEST, "sha256:aa"]);
    let found = scan.vulnerabilities.as_ref().unwrap();
    assert_eq!(
        (found.critical, found.high, found.medium, found.low, found.unknown, found.fixable),
        (1, 1, 0, 0, 1, 1)
    );
    assert_eq!(found.worst, ["CVE-1", "CVE-2", "CVE-3"]);
    assert!(!scan.sbom);
}

#[test]
fn a_clean_report_of_trivy_says_that_nothing_was_found() {
    let report = json!({"SchemaVersion": 2, "ArtifactName": "own.tar", "Metadata": {"RepoTags": ["a/b:1"]}, "Results": null});
    let read = read("a.json", &bytes(&report)).unwrap();
    assert_eq!(read.scans[0].image.as_deref(), Some("a/b:1"));
    assert_eq!(read.scans[0].vulnerabilities, Some(Default::default()));
}

#[test]
fn cyclonedx_tells_what_is_in_an_image_and_which_it_is() {
    let report = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5",
        "metadata": {"component": {
            "type": "container", "name": "ghcr.io/acme/app:1.2",
            "purl": format!("pkg:oci/app@{}?arch=amd64&repository_url=ghcr.io%2Facme%2Fapp", DIGEST.replace(':', "%3A")),
            "properties": [{"name": "aquasecurity:trivy:RepoDigest", "value": format!("ghcr.io/acme/app@{DIGEST}")}]}},
        "components": [{"type": "library", "name": "openssl"}],
        "vulnerabilities": [{"id": "CVE-9", "ratings": [{"severity": "medium"}, {"severity": "high"}], "recommendation": "Upgrade"}],
    });
    let read = read("b.json", &bytes(&report)).unwrap();
    let [scan] = read.scans.as_slice() else { panic!("{read:?}") };
    assert_eq!((read.format, scan.sbom), ("cyclonedx", true));
    assert_eq!(scan.image.as_deref(), Some("ghcr.io/acme/app:1.2"));
    assert_eq!(scan.digests, [DIGEST]);
    let found = scan.vulnerabilities.as_ref().unwrap();
    assert_eq!((found.high, found.medium, found.fixable), (1, 0, 1));
}

#[test]
fn spdx_tells_what_is_in_an_image_and_which_it_is() {
    let report = json!({
        "spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "app",
        "packages": [
            {"SPDXID": "SPDXRef-Package-a", "name": "openssl", "versionInfo": "3"},
            {"SPDXID": "SPDXRef-Root", "name": "ghcr.io/acme/app", "versionInfo": "1.2", "primaryPackagePurpose": "CONTAINER",
             "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                "referenceLocator": format!("pkg:oci/app@{}?arch=amd64", DIGEST.replace(':', "%3A"))}]}],
        "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relatedSpdxElement": "SPDXRef-Root", "relationshipType": "DESCRIBES"}],
    });
    let read = read("c.json", &bytes(&report)).unwrap();
    let [scan] = read.scans.as_slice() else { panic!("{read:?}") };
    assert_eq!((read.format, scan.sbom, &scan.vulnerabilities), ("spdx", true, &None));
    assert_eq!(
        (scan.image.as_deref(), scan.digests.as_slice()),
        (Some("ghcr.io/acme/app:1.2"), &[DIGEST.to_owned()][..])
    );
}

#[test]
fn the_operators_reports_are_read_alone_and_as_a_list() {
    let object = json!({
        "apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "VulnerabilityReport",
        "metadata": {"namespace": "shop", "name": "replicaset-api-1-api", "labels": {
            "trivy-operator.container.name": "api", "trivy-operator.resource.kind": "ReplicaSet",
            "trivy-operator.resource.name": "api-1", "trivy-operator.resource.namespace": "shop"}},
        "report": {"registry": {"server": "index.docker.io"},
            "artifact": {"repository": "library/nginx", "tag": "1.27", "digest": DIGEST},
            "vulnerabilities": [{"vulnerabilityID": "CVE-1", "severity": "HIGH", "fixedVersion": "2"}]},
    });
    let sbom = json!({
        "apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "SbomReport",
        "metadata": {"namespace": "shop", "name": "s"},
        "report": {"artifact": {"repository": "acme/app"}, "components": {"components": [{"name": "x"}]}},
    });
    let one = read("d.json", &bytes(&object)).unwrap();
    assert_eq!(one.scans[0].image.as_deref(), Some("docker.io/library/nginx:1.27"));
    assert_eq!(one.scans[0].container.as_ref().map(|one| &*one.container), Some("api"));
    assert_eq!(one.scans[0].report, "d.json, VulnerabilityReport shop/replicaset-api-1-api");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [object, sbom]});
    let both = read("e.json", &bytes(&list)).unwrap();
    let told: Vec<_> = both.scans.iter().map(|scan| (scan.sbom, scan.vulnerabilities.is_some())).collect();
    assert_eq!(told, [(false, true), (true, false)]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let rows: [(&str, &[u8], &str); 4] = [
        ("torn", b"{\n\"bomFormat\": \"CycloneDX\",\n", "line 3: it is no JSON"),
        ("something else", b"{\"a\": 1}", "none of the formats"),
        (
            "a shape of its own",
            b"{\"ArtifactName\": \"a\", \"Results\": [{\"Vulnerabilities\": 7}]}",
            "Results[0].Vulnerabilities",
        ),
        ("another kind", b"{\"kind\": \"ConfigAuditReport\"}", "none of the formats"),
    ];
    for (name, bytes, expected) in rows {
        let error: ScanError = read("x", bytes).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}
