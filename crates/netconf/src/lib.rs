//! turnup-netconf
