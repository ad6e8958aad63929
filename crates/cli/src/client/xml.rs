//! Configuration for people to read.

use turnup_netconf::xml::{Limits, parse_str};

/// Indented content of `<config>`; as it is, if it can't be read as XML.
pub(crate) fn pretty(config: &str) -> String {
    let limits = Limits { max_bytes: 8 << 20, max_depth: 128, max_attributes: 64, max_nodes: 500_000 };
    let Ok(root) = parse_str(&format!("<config>{config}</config>"), &limits) else {
        return config.to_owned();
    };
    let trees: Vec<String> =
        root.into_children().map(|element| element.to_pretty_xml().trim_end().to_owned()).collect();
    if trees.is_empty() { config.to_owned() } else { trees.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_is_indented() {
        let text = pretty("<a xmlns=\"urn:x\"><b>1</b></a><c xmlns=\"urn:x\"><d><e/></d></c>");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "<a xmlns=\"urn:x\">");
        assert_eq!(lines[1], "  <b>1</b>");
        assert!(lines.contains(&"<c xmlns=\"urn:x\">"), "{text}");
        assert_eq!(pretty("no <xml"), "no <xml");
    }
}
