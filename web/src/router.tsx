/** Every page and its address. Pages are loaded when they are first opened. */
import { createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect } from "@tanstack/react-router";

import { Shell } from "./shell";

const root = createRootRoute({ component: Shell });
const page = <P extends string>(path: P, load: () => Promise<Record<string, unknown>>, name: string) =>
  createRoute({
    getParentRoute: () => root,
    path,
    component: lazyRouteComponent(load as () => Promise<Record<string, never>>, name as never),
  });

export const routes = [
  createRoute({ getParentRoute: () => root, path: "/", beforeLoad: () => { throw redirect({ to: "/overview" as never }); } }),
  page("/overview", () => import("./pages/overview"), "OverviewPage"),
  page("/providers", () => import("./pages/providers"), "ProvidersPage"),
  page("/providers/$name", () => import("./pages/provider"), "ProviderPage"),
  page("/users", () => import("./pages/users"), "UsersPage"),
  page("/users/$name", () => import("./pages/user"), "UserPage"),
  page("/models", () => import("./pages/models"), "ModelsPage"),
  page("/requests", () => import("./pages/requests"), "RequestsPage"),
  page("/live", () => import("./pages/live"), "LivePage"),
  page("/usage", () => import("./pages/usage"), "UsagePage"),
  page("/playground", () => import("./pages/playground"), "PlaygroundPage"),
  page("/shutdowns", () => import("./pages/shutdowns"), "ShutdownsPage"),
  page("/audit", () => import("./pages/audit"), "AuditPage"),
  page("/revisions", () => import("./pages/revisions"), "RevisionsPage"),
  page("/settings", () => import("./pages/settings"), "SettingsPage"),
  page("/account", () => import("./pages/account"), "AccountPage"),
];

export const router = createRouter({ routeTree: root.addChildren(routes), basepath: "/console", defaultPreload: "intent" });
