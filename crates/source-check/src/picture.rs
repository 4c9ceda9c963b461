//! The picture of the rooms in `docs/architecture.md`: the first text block below `## Rooms`. Each line
//! is a level, `room | room   what the one is for | what the other is for`, and imports go down.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::Result;

const PAGE: &str = "docs/architecture.md";
const HEADING: &str = "## Rooms";

pub struct Room {
    /// 0 is at the top.
    pub level: usize,
    pub line: usize,
}

pub struct Picture {
    pub rooms: BTreeMap<String, Room>,
}

impl Picture {
    pub const PAGE: &str = PAGE;

    pub fn read(root: &Path) -> Result<Picture> {
        let page = fs::read_to_string(root.join(PAGE)).map_err(|e| format!("{PAGE}: {e}"))?;
        Picture::parse(&page)
    }

    fn parse(page: &str) -> Result<Picture> {
        let lines = (1..)
            .zip(page.lines())
            .skip_while(|(_, text)| *text != HEADING)
            .skip_while(|(_, text)| *text != "```text")
            .skip(1)
            .take_while(|(_, text)| *text != "```")
            .filter(|(_, text)| !text.trim().is_empty());
        let mut rooms = BTreeMap::new();
        for (level, (line, text)) in lines.enumerate() {
            let (names, purposes) = text
                .trim()
                .split_once("  ")
                .ok_or_else(|| format!("{PAGE}:{line}: the level has no description"))?;
            if names.split('|').count() != purposes.split('|').count() {
                return Err(format!("{PAGE}:{line}: not one description per room").into());
            }
            for name in names.split('|') {
                let room = Room { level, line };
                if rooms.insert(name.trim().to_owned(), room).is_some() {
                    return Err(format!("{PAGE}:{line}: {} is there twice", name.trim()).into());
                }
            }
        }
        if rooms.is_empty() {
            return Err(format!("{PAGE}: there is no picture below \"{HEADING}\"").into());
        }
        Ok(Picture { rooms })
    }
}
