//! Devices from lists and from NetBox, as the API takes them. Pure: a file's tree in, devices and what is wrong with the
//! others out; who reads files and asks the intake is the client.

pub mod netbox;
pub mod own;
mod rows;

pub use rows::{Entry, Named, Read, Row, entries};

/// What devices get that their entry doesn't say.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct Defaults {
    /// Region of the devices that the file gives none; of devices from NetBox, of all
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = "region_from"))]
    pub region: Option<String>,
    /// NetBox's field that becomes the region: site, location, region, tenant, custom_fields.NAME …
    #[cfg_attr(feature = "clap", arg(long, value_name = "FIELD"))]
    pub region_from: Option<String>,
    /// Region for what --region-from reads, such as ams1=eu-west,fra2=eu-west; then each value must be named
    #[cfg_attr(
        feature = "clap",
        arg(long, value_name = "FROM=REGION,…", value_delimiter = ',', requires = "region_from")
    )]
    pub region_map: Vec<String>,
    /// Platform of the devices that the file gives none; of devices from NetBox, of those not in --platform-map
    #[cfg_attr(feature = "clap", arg(long))]
    pub platform: Option<String>,
    /// Platform for NetBox's platform (slug or name), such as junos=mx,ios-xr=xr
    #[cfg_attr(feature = "clap", arg(long, value_name = "NETBOX=PLATFORM,…", value_delimiter = ','))]
    pub platform_map: Vec<String>,
    /// Name of the credentials in the workers' configuration, for devices that the file gives none
    #[cfg_attr(feature = "clap", arg(long))]
    pub credential: Option<String>,
    /// NETCONF's port, for devices that the file gives none [default: 830]
    #[cfg_attr(feature = "clap", arg(long))]
    pub port: Option<u16>,
}
