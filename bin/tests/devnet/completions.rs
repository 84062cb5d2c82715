//! Scripts with which shells complete commands and flags.

use std::process::Command;

fn script(shell: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["completions", shell])
        .output()
        .expect("the binary runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Goal: each shell gets a script that knows what there is, and nothing that is refused.
#[test]
fn shells_complete_what_there_is() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = script(shell);
        for word in ["completions", "block-time", "print-traces", "import"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("fork-url"), "{shell}");
    }
    let completed = format!(
        "{}\nCOMP_WORDS=(evenkeel --print-t)\nCOMP_CWORD=1\n_evenkeel evenkeel --print-t evenkeel\n\
         echo \"${{COMPREPLY[@]}}\"",
        script("bash")
    );
    let output = Command::new("bash").args(["-c", &completed]).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "--print-traces", "{output:?}");
}
