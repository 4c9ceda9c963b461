//! The fenced blocks of a document, for the tests that run them.

use crate::Result;

/// A fenced block: its info string, its text, and the line that it begins at.
#[derive(Debug)]
pub struct Block {
    pub kind: String,
    pub text: String,
    pub line: usize,
}

/// The block of a document's text that has this at the beginning of a line.
///
/// # Errors
/// There is none.
pub fn block_with(text: &str, begin: &str) -> Result<Block> {
    blocks(text)
        .into_iter()
        .find(|block| block.text.lines().any(|line| line.starts_with(begin)))
        .ok_or_else(|| format!("no block with {begin:?}").into())
}

/// The fenced blocks of a document.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.trim().strip_prefix("```"), &mut open) {
            (Some(kind), None) => {
                open = Some(Block {
                    kind: kind.trim().to_owned(),
                    text: String::new(),
                    line: index + 1,
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}
