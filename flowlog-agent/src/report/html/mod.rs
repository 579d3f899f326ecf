//! An assessment as one HTML file, which works offline and asks for nothing.
//!
//! The page is a frame, a style and three scripts (cytoscape, the map, the views), the same for all; what differs is data, JSON in
//! an element that does not run. The page's policy forbids every request, and every style and script but these, by their hashes
//! (`build.rs` computes them). Names reach the page as JSON with `<` escaped, and become text nodes there: nothing in a name is
//! ever parsed as HTML.

use super::{Options, ReportError, json};
use crate::model::Assessment;
use flate2::read::GzDecoder;
use serde::Serialize;
use std::io::{Read as _, Write};

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const MAP_STYLE: &str = include_str!("map.css");
const MAP: &str = include_str!("map.js");
const PAGE: &str = include_str!("page.js");
/// As `vendor/` has it, compressed: 136 kB in place of 436 kB in the binary.
const CYTOSCAPE: &[u8] = include_bytes!(env!("FLOWLOG_CYTOSCAPE"));
/// The page's Content-Security-Policy.
const POLICY: &str = env!("FLOWLOG_REPORT_POLICY");

/// Keys whose texts have many lines.
const BLOCKS: [&str; 1] = ["policy"];

/// What the page reads.
#[derive(Serialize)]
struct Data<'a> {
    fail_on: Option<&'static str>,
    assessment: &'a Assessment,
}

/// The assessment as an HTML page.
pub(super) fn write(
    out: &mut (impl Write + ?Sized),
    assessment: &Assessment,
    options: &Options,
) -> Result<(), ReportError> {
    let mut cytoscape = String::new();
    GzDecoder::new(CYTOSCAPE).read_to_string(&mut cytoscape).map_err(ReportError::Asset)?;
    let data = Data { fail_on: options.fail_on.map(|severity| severity.as_str()), assessment };
    let parts = [
        ("{{policy}}", Some(POLICY)),
        ("{{style}}", Some(STYLE)),
        ("{{map_style}}", Some(MAP_STYLE)),
        ("{{data}}", None),
        ("{{cytoscape}}", Some(cytoscape.as_str())),
        ("{{map}}", Some(MAP)),
        ("{{page}}", Some(PAGE)),
    ];
    let mut rest = FRAME;
    for (mark, part) in parts {
        // A mark that is not there is a mistake of ours, which a test finds.
        let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
        out.write_all(before.as_bytes())?;
        match part {
            Some(part) => out.write_all(part.as_bytes())?,
            None => json::write_shown(out, &data, &BLOCKS)?,
        }
        rest = after;
    }
    Ok(out.write_all(rest.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{shown, small};
    use serde_json::Value;

    fn page(assessment: &Assessment) -> String {
        let mut page = Vec::new();
        write(&mut page, assessment, &Options::default()).unwrap();
        String::from_utf8(page).unwrap()
    }

    fn data(page: &str) -> Value {
        let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn all_of_the_assessment_is_in_it_and_no_mark_is_left() {
        let page = page(&small());
        assert!(page.ends_with("</html>\n"), "the page has no end");
        for mark in ["policy", "style", "map_style", "data", "cytoscape", "map", "page"] {
            let mark = format!("{{{{{mark}}}}}");
            assert!(FRAME.contains(&mark) && !page.contains(&mark), "{mark} is left");
        }
        assert_eq!(data(&page)["assessment"], serde_json::to_value(small()).unwrap());
    }

    #[test]
    fn a_name_does_not_get_out_of_the_data() {
        let mut assessment = small();
        let before = page(&assessment).matches('<').count();
        let hostile = "</script><script>alert(1)</script><!--<script>{{page}}\u{202e}\u{2028}";
        assessment.cluster = Some(hostile.to_owned());
        assessment.vendors[0].name = Some(hostile.to_owned());
        assessment.findings[0].remedy.policy = Some(format!("a: 1\nb: {hostile}\n"));
        let page = page(&assessment);
        assert_eq!(page.matches('<').count(), before);
        let shown = shown::line(hostile).into_owned();
        assert_eq!(data(&page)["assessment"]["cluster"], shown);
        assert_eq!(
            data(&page)["assessment"]["findings"][0]["remedy"]["policy"],
            format!("a: 1\nb: {shown}\n")
        );
    }

    #[test]
    fn the_policy_lets_nothing_in_or_out() {
        assert!(POLICY.starts_with("default-src 'none'; script-src 'sha256-"), "{POLICY}");
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http"), "{POLICY}");
    }

    /// A script is a script up to its end mark, whatever stands in it.
    #[test]
    fn no_part_ends_or_opens_an_element() {
        for (name, part) in [("style", STYLE), ("map style", MAP_STYLE), ("map", MAP), ("page", PAGE)] {
            assert!(!part.contains("</") && !part.contains("<!--"), "{name}");
        }
        let mut cytoscape = String::new();
        GzDecoder::new(CYTOSCAPE).read_to_string(&mut cytoscape).unwrap();
        assert!(!cytoscape.contains("</script") && !cytoscape.contains("<!--"));
    }
}
