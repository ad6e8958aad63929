//! The route table: every method of every path, who may use it, what it takes and gives. The
//! router, the entrance's checks and the OpenAPI document are all made from it; what is not in
//! here does not exist.

use axum::http::Method;
use futures_util::future::BoxFuture;
use turnup_core::policy::Permission;

use super::{
    answer::Answer, bulk, call::Call, catalogue, check, deployments, devices, events, exam, explain, fleet,
    orders, plan, services, system, undo,
};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody, without a token.
    Open,
    /// Whose token's roles have the right.
    Needs(Permission),
}

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// No body; one that is sent is not read.
    Nothing,
    /// A JSON value; the name of its schema.
    Json(&'static str),
    /// The same, or nothing.
    MaybeJson(&'static str),
    /// A merge patch (RFC 7396), also as plain JSON.
    MergePatch(&'static str),
    /// A stream of JSON values, one per line.
    Lines(&'static str),
}

/// What a route gives when all goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    /// JSON; the name of its schema.
    Json(&'static str),
    /// Nothing.
    Nothing,
    /// A stream of JSON values, one per line.
    Lines(&'static str),
    /// JSON, or a stream of events for who asks for one.
    Events(&'static str),
    /// Text of the Prometheus exposition format.
    Metrics,
}

/// How long a request may take once its body has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// As long as the database needs.
    Short,
    /// As long as devices need, too.
    Devices,
    /// As long as it takes to fetch a device's YANG modules.
    Schemas,
    /// As long as a device exam takes.
    Exam,
}

/// A handler: takes a request that has passed the entrance.
pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Answer>;

/// A method of a path.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) method: &'static Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) summary: &'static str,
    /// Query parameters that it knows.
    pub(crate) query: &'static [&'static str],
    pub(crate) takes: Takes,
    /// The status when all goes well.
    pub(crate) status: u16,
    pub(crate) lasts: Lasts,
    pub(crate) gives: Gives,
    pub(crate) handler: Handler,
}

impl Route {
    /// Whether it may last: no deadline, and a place among the streams instead of the requests.
    pub(crate) const fn may_stream(&self) -> bool {
        matches!(self.gives, Gives::Lines(_) | Gives::Events(_))
    }
}

/// An async function as a [`Handler`].
macro_rules! handler {
    ($function:path) => {
        |call| Box::pin($function(call))
    };
}

/// All routes. `metrics_open`: whether `/metrics` needs no token.
pub(crate) fn routes(metrics_open: bool) -> Vec<Route> {
    let read = Access::Needs(Permission::Read);
    let create = Access::Needs(Permission::OrderCreate);
    let manage = Access::Needs(Permission::OrderManage);
    let device_read = Access::Needs(Permission::DeviceRead);
    let device_write = Access::Needs(Permission::DeviceWrite);
    let definition_write = Access::Needs(Permission::DefinitionWrite);
    let metrics = if metrics_open { Access::Open } else { read };
    let route = |method, path, access, summary, gives, handler| Route {
        method,
        path,
        access,
        summary,
        query: &[],
        takes: Takes::Nothing,
        status: 200,
        lasts: Lasts::Short,
        gives,
        handler,
    };
    let get =
        |path, access, summary, gives, handler| route(&Method::GET, path, access, summary, gives, handler);
    let post =
        |path, access, summary, gives, handler| route(&Method::POST, path, access, summary, gives, handler);
    let order = Gives::Json("Order");
    vec![
        Route {
            query: &["dry_run", "on_device"],
            lasts: Lasts::Devices,
            takes: Takes::Json("OrderRequest"),
            status: 201,
            ..post(
                "/v1/orders",
                create,
                "Order a service, or a change, an audit or the removal of one",
                order,
                handler!(orders::create),
            )
        },
        Route {
            query: &[
                "state",
                "kind",
                "region",
                "device",
                "definition",
                "service_id",
                "external_id",
                "undoes",
                "created_after",
                "created_before",
                "limit",
                "cursor",
            ],
            ..get(
                "/v1/orders",
                read,
                "List orders, newest first",
                Gives::Json("OrderPage"),
                handler!(orders::list),
            )
        },
        Route {
            takes: Takes::Lines("OrderRequest"),
            ..post(
                "/v1/orders:bulk",
                create,
                "Order many, one per line; a result per line, in the same order",
                Gives::Lines("BulkResult"),
                handler!(bulk::bulk),
            )
        },
        get("/v1/orders/{id}", read, "One order with its history", order, handler!(orders::show)),
        get(
            "/v1/orders/{id}/explain",
            read,
            "Why the order is where it is, in one sentence",
            Gives::Json("Explanation"),
            handler!(explain::order),
        ),
        Route {
            query: &["on_device"],
            lasts: Lasts::Devices,
            ..get(
                "/v1/orders/{id}/plan",
                read,
                "What the order would do on each device now",
                Gives::Json("Plan"),
                handler!(plan::of_order),
            )
        },
        Route {
            takes: Takes::MaybeJson("ScheduleRequest"),
            ..post(
                "/v1/orders/{id}/schedule",
                manage,
                "Give the order a time, or another one",
                order,
                handler!(orders::schedule),
            )
        },
        Route {
            takes: Takes::MaybeJson("Empty"),
            ..post(
                "/v1/orders/{id}/unschedule",
                manage,
                "Take its time away",
                order,
                handler!(orders::unschedule),
            )
        },
        Route {
            takes: Takes::MaybeJson("CancelRequest"),
            ..post("/v1/orders/{id}/cancel", manage, "Withdraw the order", order, handler!(orders::cancel))
        },
        Route {
            takes: Takes::Json("RecreateRequest"),
            status: 201,
            ..post(
                "/v1/orders/{id}/recreate",
                create,
                "Make a new order from an Invalid one, with corrections",
                order,
                handler!(orders::recreate),
            )
        },
        Route {
            query: &["dry_run", "on_device", "to_before"],
            lasts: Lasts::Devices,
            takes: Takes::MaybeJson("UndoRequest"),
            status: 201,
            ..post(
                "/v1/orders/{id}/undo",
                create,
                "Make the order that takes a Completed one back",
                order,
                handler!(undo::undo),
            )
        },
        get(
            "/v1/deployments/{id}",
            read,
            "One deployment: each device's steps and failures",
            Gives::Json("Deployment"),
            handler!(deployments::show),
        ),
        // What devices have beside the services is in here too: for those who may read devices.
        Route {
            query: &["device"],
            ..get(
                "/v1/deployments/{id}/transcript",
                device_read,
                "What was said to the devices and what they answered, secrets masked",
                Gives::Json("Transcript"),
                handler!(deployments::transcript),
            )
        },
        Route {
            query: &[
                "state",
                "audit_state",
                "config_audit",
                "definition",
                "region",
                "device",
                "external_id",
                "limit",
                "cursor",
            ],
            ..get(
                "/v1/services",
                read,
                "List services, newest first",
                Gives::Json("ServicePage"),
                handler!(services::list),
            )
        },
        get(
            "/v1/services/{id}",
            read,
            "One service with its orders",
            Gives::Json("Service"),
            handler!(services::show),
        ),
        get(
            "/v1/services/{id}/config",
            read,
            "What the service has on each device",
            Gives::Json("ServiceConfig"),
            handler!(services::config),
        ),
        get(
            "/v1/services/{id}/audit",
            read,
            "The service's last audit",
            Gives::Json("Audit"),
            handler!(services::audit),
        ),
        Route {
            query: &["region", "limit", "cursor"],
            ..get(
                "/v1/devices",
                device_read,
                "List devices by name",
                Gives::Json("DevicePage"),
                handler!(devices::list),
            )
        },
        Route {
            query: &["dry_run"],
            takes: Takes::Json("DeviceRequest"),
            status: 201,
            ..post(
                "/v1/devices",
                device_write,
                "Add a device, or an array of devices",
                Gives::Json("Device"),
                handler!(devices::add),
            )
        },
        get("/v1/devices/{name}", device_read, "One device", Gives::Json("Device"), handler!(devices::show)),
        Route {
            query: &["dry_run"],
            takes: Takes::MergePatch("DevicePatch"),
            ..route(
                &Method::PATCH,
                "/v1/devices/{name}",
                device_write,
                "Change a device",
                Gives::Json("Device"),
                handler!(devices::change),
            )
        },
        Route {
            status: 204,
            ..route(
                &Method::DELETE,
                "/v1/devices/{name}",
                device_write,
                "Remove a device on which nothing is",
                Gives::Nothing,
                handler!(devices::remove),
            )
        },
        Route {
            takes: Takes::MaybeJson("CheckRequest"),
            lasts: Lasts::Schemas,
            ..post(
                "/v1/devices/{name}/check",
                device_write,
                "Ask a device what it is and can; fetch its YANG modules",
                Gives::Json("Check"),
                handler!(check::check),
            )
        },
        get(
            "/v1/devices/{name}/check",
            device_read,
            "What the device said when it was last asked",
            Gives::Json("Check"),
            handler!(check::last),
        ),
        Route {
            takes: Takes::MaybeJson("ExamRequest"),
            lasts: Lasts::Exam,
            ..post(
                "/v1/devices/{name}/exam",
                device_write,
                "Find out how a device behaves, in a scratch of its configuration",
                Gives::Json("Exam"),
                handler!(exam::exam),
            )
        },
        get(
            "/v1/definitions",
            read,
            "The service catalogue: the newest version of every definition",
            Gives::Json("DefinitionPage"),
            handler!(catalogue::list),
        ),
        Route {
            takes: Takes::Json("Bundle"),
            status: 201,
            ..post(
                "/v1/definitions",
                definition_write,
                "Publish a version of a service definition; published versions never change",
                Gives::Json("Definition"),
                handler!(catalogue::publish),
            )
        },
        Route {
            query: &["version"],
            ..get(
                "/v1/definitions/{name}",
                read,
                "One version of a definition with its files, the newest if none is named",
                Gives::Json("DefinitionFiles"),
                handler!(catalogue::show),
            )
        },
        get(
            "/v1/pools",
            read,
            "The pools that services take values from",
            Gives::Json("PoolPage"),
            handler!(catalogue::pools),
        ),
        Route {
            query: &["scope", "service_id", "limit", "cursor"],
            ..get(
                "/v1/pools/{name}",
                read,
                "The values of a pool that are taken, and by whom",
                Gives::Json("ResourcePage"),
                handler!(catalogue::pool),
            )
        },
        Route {
            query: &["after", "type", "subject", "since", "newest", "limit"],
            ..get(
                "/v1/events",
                read,
                "State events after a cursor; as text/event-stream, as they come",
                Gives::Events("EventPage"),
                handler!(events::events),
            )
        },
        get(
            "/v1/fleet",
            read,
            "Queues and workers by region, orders by state",
            Gives::Json("Fleet"),
            handler!(fleet::fleet),
        ),
        get(
            "/healthz",
            Access::Open,
            "Whether this process lives",
            Gives::Json("Health"),
            handler!(system::healthz),
        ),
        get(
            "/readyz",
            Access::Open,
            "Whether all that it needs is there",
            Gives::Json("Health"),
            handler!(system::readyz),
        ),
        get("/metrics", metrics, "Figures for Prometheus", Gives::Metrics, handler!(system::metrics)),
        get(
            "/openapi.json",
            read,
            "This description, with the regions and platforms known now",
            Gives::Json("Any"),
            handler!(system::openapi),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written out: who may do what is not to change by the way.
    #[test]
    fn the_rights_are_exactly_these() {
        let table: String = routes(false)
            .iter()
            .map(|route| {
                let right = match route.access {
                    Access::Open => "open",
                    Access::Needs(permission) => permission.word(),
                };
                format!("{} {} {right}\n", route.method, route.path)
            })
            .collect();
        assert_eq!(
            table,
            "POST /v1/orders order_create\n\
             GET /v1/orders read\n\
             POST /v1/orders:bulk order_create\n\
             GET /v1/orders/{id} read\n\
             GET /v1/orders/{id}/explain read\n\
             GET /v1/orders/{id}/plan read\n\
             POST /v1/orders/{id}/schedule order_manage\n\
             POST /v1/orders/{id}/unschedule order_manage\n\
             POST /v1/orders/{id}/cancel order_manage\n\
             POST /v1/orders/{id}/recreate order_create\n\
             POST /v1/orders/{id}/undo order_create\n\
             GET /v1/deployments/{id} read\n\
             GET /v1/deployments/{id}/transcript device_read\n\
             GET /v1/services read\n\
             GET /v1/services/{id} read\n\
             GET /v1/services/{id}/config read\n\
             GET /v1/services/{id}/audit read\n\
             GET /v1/devices device_read\n\
             POST /v1/devices device_write\n\
             GET /v1/devices/{name} device_read\n\
             PATCH /v1/devices/{name} device_write\n\
             DELETE /v1/devices/{name} device_write\n\
             POST /v1/devices/{name}/check device_write\n\
             GET /v1/devices/{name}/check device_read\n\
             POST /v1/devices/{name}/exam device_write\n\
             GET /v1/definitions read\n\
             POST /v1/definitions definition_write\n\
             GET /v1/definitions/{name} read\n\
             GET /v1/pools read\n\
             GET /v1/pools/{name} read\n\
             GET /v1/events read\n\
             GET /v1/fleet read\n\
             GET /healthz open\n\
             GET /readyz open\n\
             GET /metrics read\n\
             GET /openapi.json read\n"
        );
        let opened: Vec<&str> = routes(true)
            .iter()
            .filter(|route| route.access == Access::Open)
            .map(|route| route.path)
            .collect();
        assert_eq!(opened, ["/healthz", "/readyz", "/metrics"]);
    }
}
