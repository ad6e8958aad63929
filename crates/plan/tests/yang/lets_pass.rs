//! What a part of a configuration must not be blamed for.

use crate::{boxed, check, in_box, sim};

#[track_caller]
fn passes(owned: &[&str], config: &str) {
    assert_eq!(check(&boxed(), owned, config), Vec::<String>::new());
}

#[test]
fn good_values() {
    passes(
        &[],
        &in_box(
            "<number>1</number><word>abc</word><colour>red</colour><kind xmlns:q=\"urn:box\">q:big</kind>\
             <address>10.0.0.1</address><fancy/><tag>a</tag><tag>b</tag><r1>x</r1><r2>y</r2>\
             <any><free xmlns=\"urn:anything\">x<b/></free></any>",
        )
        .replace("x<b/>", "<b/>"),
    );
}

#[test]
fn nothing_at_all() {
    passes(&[], "");
    passes(&[], &in_box(""));
}

#[test]
fn targets_elsewhere() {
    passes(&[], &in_box("<link>gone</link>"));
    passes(&[], &in_box("<path xmlns:b=\"urn:box\">/b:box/b:item[b:name='gone']/b:size</path>"));
    passes(&[], &in_box("<either>gone</either>"));
}

#[test]
fn conditions_on_what_is_elsewhere() {
    passes(
        &["box/checked", "box/only-with-number"],
        &in_box("<only-with-number>x</only-with-number><checked>x</checked>"),
    );
    // `must` of the simulator: the interface and unit are not in this footprint.
    let config = "<pseudowires xmlns=\"urn:turnup:sim\"><pseudowire><name>p</name><vc-id>1</vc-id>\
                  <peer>q</peer><interface>a</interface><unit>1</unit></pseudowire></pseudowires>";
    assert!(check(&sim(), &["pseudowires/pseudowire"], config).is_empty());
    // The same value of a `unique` leaf.
    passes(
        &[],
        &in_box(
            "<item><name>a</name><address>x</address></item><item><name>b</name><address>x</address></item>",
        ),
    );
}

#[test]
fn a_mandatory_node_with_a_condition() {
    let item = "<item><name>n</name><size>3</size><inner><needed>x</needed></inner><round/>\
                <note>1</note><note>2</note></item>";
    passes(&["box/item"], &in_box(item));
}

#[test]
fn what_is_only_passed_through() {
    // The item is on the device already; a part of it is the service's.
    let config = in_box("<item><name>n</name><part><a>1</a><b>x</b><weight>1</weight></part></item>");
    passes(&["box/item/part"], &config);
    // A leaf in it that services share does not make the item theirs.
    passes(&["box/item/address"], &in_box("<item><name>n</name><address>x</address></item>"));
    passes(&[], &in_box("<item><name>n</name><inner/><present/><note>1</note></item>"));
    let config = "<interfaces xmlns=\"urn:turnup:sim\"><interface><name>a</name><unit><id>1</id>\
                  <vlan-id>5</vlan-id></unit></interface></interfaces>";
    assert!(check(&sim(), &["interfaces/interface/unit"], config).is_empty());
}

#[test]
fn several_top_elements_and_namespaces() {
    let config = in_box(
        "<number>1</number><number xmlns=\"urn:extra\">many</number><item><name>a</name></item>\
         <item xmlns=\"urn:extra\"><id>1</id></item><x:item xmlns:x=\"urn:extra\"><x:id>2</x:id></x:item>",
    );
    passes(&[], &format!("{config}\n<tag xmlns=\"urn:extra\"><item>x</item></tag>"));
}

#[test]
fn significant_characters() {
    let name = "a&lt;b&amp;'c'&quot;d&quot;&gt;]]&gt;é&#10;x";
    passes(
        &[],
        &in_box(&format!("<item><name>{name}</name><address>{name}</address></item><tag>{name}</tag>")),
    );
}
