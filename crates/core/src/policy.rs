//! Who may do what. Deny by default: what no line here allows is refused.

use crate::words::words;

words!(
    /// A role of people and systems (1-overview: who works with turnup).
    Role, "role" {
        /// Orders services.
        Provisioner = "provisioner" / "Service provisioner",
        /// Runs devices, the fleet and failed deployments.
        Operator = "operator" / "Network operator",
        /// Writes service definitions.
        Designer = "designer" / "Service designer",
        /// Reads everything, changes nothing.
        Auditor = "auditor" / "Auditor",
        /// Everything, including tokens.
        Admin = "admin" / "Administrator",
    }
);

words!(
    /// Something that a request needs the right to do.
    Permission, "permission" {
        /// Read orders, services, deployments, definitions and events.
        Read = "read" / "Read orders, services and events",
        /// Create orders.
        OrderCreate = "order_create" / "Create orders",
        /// Schedule, unschedule and cancel orders.
        OrderManage = "order_manage" / "Schedule and cancel orders",
        /// Read the device inventory.
        DeviceRead = "device_read" / "Read devices",
        /// Add, change and remove devices; trust host keys.
        DeviceWrite = "device_write" / "Change devices",
        /// Publish service definitions.
        DefinitionWrite = "definition_write" / "Publish service definitions",
        /// Create, list and revoke tokens.
        TokenManage = "token_manage" / "Manage tokens",
    }
);

/// Whether `role` has `permission`.
#[must_use]
pub const fn allows(role: Role, permission: Permission) -> bool {
    use Permission::{DefinitionWrite, DeviceRead, DeviceWrite, OrderCreate, OrderManage, Read, TokenManage};
    match (role, permission) {
        (Role::Admin, _) | (_, Read | DeviceRead) => true,
        (Role::Provisioner | Role::Operator, OrderCreate | OrderManage) => true,
        (Role::Operator, DeviceWrite) => true,
        (Role::Designer, DefinitionWrite) => true,
        (Role::Provisioner | Role::Auditor | Role::Designer, DeviceWrite) => false,
        (Role::Auditor | Role::Designer, OrderCreate | OrderManage) => false,
        (Role::Provisioner | Role::Operator | Role::Auditor, DefinitionWrite) => false,
        (Role::Provisioner | Role::Operator | Role::Designer | Role::Auditor, TokenManage) => false,
    }
}

/// Whether any of `roles` has `permission`.
#[must_use]
pub fn any_allows(roles: &[Role], permission: Permission) -> bool {
    roles.iter().any(|role| allows(*role, permission))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix() {
        let matrix: String = Role::ALL
            .iter()
            .map(|role| {
                let rights: Vec<_> =
                    Permission::ALL.iter().filter(|p| allows(*role, **p)).map(|p| p.word()).collect();
                format!("{role}: {}\n", rights.join(" "))
            })
            .collect();
        assert_eq!(
            matrix,
            "provisioner: read order_create order_manage device_read\n\
             operator: read order_create order_manage device_read device_write\n\
             designer: read device_read definition_write\n\
             auditor: read device_read\n\
             admin: read order_create order_manage device_read device_write definition_write token_manage\n"
        );
        assert!(!any_allows(&[], Permission::Read));
    }
}
