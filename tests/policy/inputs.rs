//! Input of any kind, for what reads manifests, policy cases, DNS answers and logs, and for what writes lines: the fixtures, what fuzzing found once, and both
//! with pieces changed, doubled, left out. A fuzzer (`cargo xtask fuzz`) looks further; this runs in every test.

#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../fuzz/records.rs"]
mod records;

use flowlog_tests::case::Case;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::sample::Index;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The contents of a folder's files, in the order of their names.
fn read(folder: &str) -> Vec<Vec<u8>> {
    let folder = repository().join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    assert!(!files.is_empty(), "nothing in {}", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

static CASES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut cases = read("fuzz/inputs/policy_eval");
    cases.extend(read("tests/fixtures/policies"));
    cases
});

static MANIFESTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut manifests = read("fuzz/inputs/manifests");
    manifests.extend(read("tests/fixtures/clusters/demo/manifests"));
    let cases = read("tests/fixtures/policies");
    let case = |bytes: &Vec<u8>| serde_json::from_slice::<Case>(bytes).unwrap().manifest();
    manifests.extend(cases.iter().map(|bytes| case(bytes).to_string().into_bytes()));
    manifests
});

static ANSWERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| read("fuzz/inputs/dns_answer"));

static LINES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| read("fuzz/inputs/log_line"));

static RECORDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| read("fuzz/inputs/encoded"));

/// What the API calls things, as the fuzzer knows them.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let text = fs::read_to_string(repository().join("fuzz/words.dict")).unwrap();
    let words = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    words.map(str::to_owned).collect()
});

/// A place, and what is done there: bytes taken out, doubled, replaced, or a word put over a word.
#[derive(Clone, Debug)]
struct Change(Index, u8, u8, Index);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (any::<Index>(), any::<u8>(), any::<u8>(), any::<Index>());
    vec(change.prop_map(|(at, what, count, word)| Change(at, what, count, word)), 1..6)
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for Change(at, what, count, word) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + usize::from(*count));
        match what % 6 {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            2 => bytes[at] = *count,
            _ => {
                let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"./:-".contains(byte);
                let from = bytes[..at].iter().rposition(|byte| !is_word(byte)).map_or(0, |before| before + 1);
                let to =
                    bytes[at..].iter().position(|byte| !is_word(byte)).map_or(bytes.len(), |len| at + len);
                bytes.splice(from..to.max(from), word.get::<String>(&WORDS).bytes());
            }
        }
    }
    bytes
}

#[test]
fn every_fixture_gets_one_answer_by_every_way() {
    CASES.iter().for_each(|bytes| checks::case(bytes));
    MANIFESTS.iter().for_each(|bytes| checks::manifests(bytes));
    ANSWERS.iter().for_each(|bytes| checks::answer(bytes));
    LINES.iter().for_each(|bytes| checks::line(bytes));
    RECORDS.iter().for_each(|bytes| checks::encoded(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_case_with_changes_is_read_or_refused(which in any::<Index>(), changes in changes()) {
        checks::case(&changed(which.get::<Vec<u8>>(&CASES), &changes));
    }

    #[test]
    fn manifests_with_changes_are_read_or_refused(which in any::<Index>(), changes in changes()) {
        checks::manifests(&changed(which.get::<Vec<u8>>(&MANIFESTS), &changes));
    }

    #[test]
    fn a_dns_answer_with_changes_is_read_or_refused(which in any::<Index>(), changes in changes()) {
        checks::answer(&changed(which.get::<Vec<u8>>(&ANSWERS), &changes));
    }

    #[test]
    fn a_line_of_a_log_with_changes_is_read_or_refused(which in any::<Index>(), changes in changes()) {
        checks::line(&changed(which.get::<Vec<u8>>(&LINES), &changes));
    }
}

proptest! {
    // Each makes thirty lines of up to 7,900 bytes.
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_make_records_that_are_lines(bytes in vec(any::<u8>(), 0..4_096)) {
        checks::encoded(&bytes);
    }

    #[test]
    fn a_record_with_changes_is_a_line(which in any::<Index>(), changes in changes()) {
        checks::encoded(&changed(which.get::<Vec<u8>>(&RECORDS), &changes));
    }
}
