//! The picture in docs/judge.md is what the judge says today.

#[path = "../../examples/picture.rs"]
#[expect(dead_code, reason = "its command is not run here")]
mod program;

#[test]
fn the_picture_of_the_docs_is_drawn_by_the_judge() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/confidence.svg");
    let committed = std::fs::read_to_string(path).expect("the picture");
    assert!(
        committed == program::svg(),
        "draw it again: cargo run -p davy-judge --example picture > docs/confidence.svg"
    );
}
