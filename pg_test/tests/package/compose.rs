//! What packaging/compose.yaml says, so that the tests do the same.

use std::collections::BTreeMap;
use std::fs;

use pg_test::Result;
use pg_test::place::source;
use pg_test::rig::ensure;
use yaml_rust2::{Yaml, YamlLoader};

const FILE: &str = "packaging/compose.yaml";

pub struct Compose(Yaml);

/// A volume or directory of the host, and where a service has it.
pub struct Mount {
    pub name: String,
    pub inside: String,
    pub read_only: bool,
}

impl Compose {
    pub fn read() -> Result<Compose> {
        let text = fs::read_to_string(source().join(FILE))?;
        let [document] = <[Yaml; 1]>::try_from(YamlLoader::load_from_str(&text)?)
            .map_err(|_| format!("{FILE} is not one document"))?;
        Ok(Compose(document))
    }

    /// A text, by the names that lead to it.
    pub fn text(&self, path: &[&str]) -> Result<&str> {
        let missing = || format!("{FILE} has no text at {}", path.join("."));
        Ok(self.at(path).as_str().ok_or_else(missing)?)
    }

    pub fn names(&self, path: &[&str]) -> Result<Vec<String>> {
        let mapping = self.at(path).as_hash().ok_or("no mapping")?;
        let names = mapping.keys().map(|name| name.as_str().map(str::to_owned));
        Ok(names.collect::<Option<_>>().ok_or("a name is no text")?)
    }

    pub fn environment(&self, service: &str) -> Result<BTreeMap<String, String>> {
        let path = ["services", service, "environment"];
        let pair = |name: String| {
            let value = self.text(&[&path[..], &[&name]].concat())?;
            ensure(!value.contains('$'), || format!("{name} depends on others"))?;
            Ok((name.clone(), value.to_owned()))
        };
        self.names(&path)?.into_iter().map(pair).collect()
    }

    pub fn mounts(&self, service: &str) -> Result<Vec<Mount>> {
        let list = self.at(&["services", service, "volumes"]);
        let list = list.as_vec().ok_or("no list of volumes")?;
        let mount = |entry: &Yaml| {
            let text = entry.as_str().ok_or("a volume that is no text")?;
            match *text.split(':').collect::<Vec<_>>() {
                [name, inside] => Ok((name, inside, false)),
                [name, inside, "ro"] => Ok((name, inside, true)),
                _ => Err(format!("not known to the tests: {text}").into()),
            }
            .map(|(name, inside, read_only)| Mount {
                name: name.to_owned(),
                inside: inside.to_owned(),
                read_only,
            })
        };
        list.iter().map(mount).collect()
    }

    fn at(&self, path: &[&str]) -> &Yaml {
        path.iter().fold(&self.0, |at, name| &at[*name])
    }
}
