//! RPCs that an operator writes by hand, such as the one of a platform profile that saves the configuration.

use turnup_netconf::xml::{Limits, parse_str};

/// Checks the content of `<rpc>`: one well-formed element in a namespace (RFC 6241 §4.1).
///
/// # Errors
/// What is wrong, in words.
pub fn check_rpc(text: &str) -> Result<(), String> {
    let element = parse_str(text.trim(), &Limits::default())
        .map_err(|error| format!("is not one well-formed XML element: {error}"))?;
    if element.namespace().is_empty() {
        return Err(format!(
            "<{}> has no namespace; name that of its YANG module with xmlns=\"…\"",
            element.name()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rpc_is_one_well_formed_element_with_a_namespace() {
        assert_eq!(check_rpc(" <save xmlns='urn:x'><all/></save>\n"), Ok(()));
        for (text, wanted) in [
            ("<save xmlns='urn:x'>", "not one well-formed"),
            ("<a xmlns='urn:x'/><b xmlns='urn:x'/>", "not one well-formed"),
            ("</config><config>", "not one well-formed"),
            ("save", "not one well-formed"),
            ("<nc:save/>", "not one well-formed"),
            ("<save/>", "<save> has no namespace"),
        ] {
            let said = check_rpc(text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }
}
