//! Makes the HTML report's parts ready: its library compressed, and the page's policy, which names each part by its hash.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use std::env;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// Below the crate's folder.
const HTML: &str = "src/report/html";
const STYLES: [&str; 2] = ["style.css", "map.css"];
/// In the order in which the page has them.
const SCRIPTS: [&str; 3] = [CYTOSCAPE, "map.js", "page.js"];
const CYTOSCAPE: &str = "vendor/cytoscape.min.js";

/// Compress the library and compute the policy; both go to `src/report/html/mod.rs` by environment.
pub(crate) fn prepare(manifest_dir: &Path) -> Result<(), Box<dyn Error>> {
    let html = manifest_dir.join(HTML);
    for part in STYLES.into_iter().chain(SCRIPTS) {
        println!("cargo::rerun-if-changed={HTML}/{part}");
    }
    let compressed = Path::new(&env::var("OUT_DIR")?).join("cytoscape.min.js.gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&fs::read(html.join(CYTOSCAPE))?)?;
    fs::write(&compressed, encoder.finish()?)?;
    println!("cargo::rustc-env=FLOWLOG_CYTOSCAPE={}", compressed.display());
    println!(
        "cargo::rustc-env=FLOWLOG_REPORT_POLICY=default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hashes(&html, &SCRIPTS)?,
        hashes(&html, &STYLES)?,
    );
    Ok(())
}

/// `'sha256-…'` of each (CSP level 3, section 2.3.1).
fn hashes(folder: &Path, parts: &[&str]) -> Result<String, Box<dyn Error>> {
    let hash = |part: &&str| -> Result<String, Box<dyn Error>> {
        let text = fs::read(folder.join(part)).map_err(|error| format!("read {HTML}/{part}: {error}"))?;
        Ok(format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text))))
    };
    Ok(parts.iter().map(hash).collect::<Result<Vec<_>, _>>()?.join(" "))
}
