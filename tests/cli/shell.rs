//! What shells and `man` are given.

use crate::bin::Place;
use std::fs;

/// What bash offers behind these words, the last of which is not whole.
fn completed(place: &Place, words: &[&str]) -> Vec<String> {
    let said = place.flowlog(&["completions", "bash"]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""));
    let line: Vec<String> = ["flowlog"].iter().chain(words).map(|word| format!("'{word}'")).collect();
    let [.., before, last] = &["", "flowlog"].iter().chain(words).copied().collect::<Vec<_>>()[..] else {
        panic!()
    };
    let script = format!(
        "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_flowlog flowlog '{last}' '{before}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        said.stdout,
        line.join(" "),
        words.len(),
    );
    place.write("ask.bash", &script);
    let said = place.alone(&["bash", "--norc"], &["ask.bash"]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{words:?}");
    said.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_options_and_values() {
    let place = Place::new();
    for (words, offered) in [
        (&["as"][..], &["assess"][..]),
        (&["policy", "l"], &["lint"]),
        (&["policy", "lint", "--manif"], &["--manifests"]),
        (&["assess", "--fail-on", "cr"], &["critical"]),
    ] {
        assert_eq!(completed(&place, words), offered, "{words:?}");
    }
    let all = completed(&place, &[""]);
    assert!(
        ["run", "check", "policy", "--help"].iter().all(|word| all.iter().any(|one| one == word)),
        "{all:?}"
    );
    assert!(!all.iter().any(|one| one == "schema" || one == "edges"), "what help hides is offered: {all:?}");
}

#[test]
fn every_shell_has_a_script() {
    let place = Place::new();
    for (shell, part) in [
        ("bash", "complete -F _flowlog"),
        ("zsh", "#compdef flowlog"),
        ("fish", "complete -c flowlog"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer[flowlog]"),
    ] {
        let said = place.flowlog(&["completions", shell]);
        assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{shell}");
        assert!(said.stdout.contains(part), "{shell}: {}", said.stdout);
    }
    let said = place.flowlog(&["completions", "tcsh"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("bash") && said.stderr.contains("tcsh"), "{}", said.stderr);
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let place = Place::new();
    let said = place.flowlog(&["man", "--into", "man1"]);
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(0), "", ""));
    let folder = fs::read_dir(place.path().join("man1")).unwrap();
    let mut pages: Vec<String> =
        folder.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    for page in
        ["flowlog.1", "flowlog-run.1", "flowlog-policy.1", "flowlog-policy-lint.1", "flowlog-assess.1"]
    {
        assert!(pages.iter().any(|one| one == page), "{page} in {pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("schema") || page.contains("help")), "{pages:?}");
    let page = fs::read_to_string(place.path().join("man1/flowlog-policy-lint.1")).unwrap();
    for part in
        [".SH NAME", "flowlog\\-policy\\-lint", ".SH SYNOPSIS", "\\-\\-manifests", "Exit code:", "Examples:"]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    let own = place.flowlog(&["man"]);
    assert_eq!((own.code, &*own.stderr), (Some(0), ""));
    assert_eq!(own.stdout, fs::read_to_string(place.path().join("man1/flowlog.1")).unwrap());
    place.write("file", "");
    let refused = place.flowlog(&["man", "--into", "file/below"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("file/below"), "{}", refused.stderr);
}
