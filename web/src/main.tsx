import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { ApiError, get, hasSession } from "./lib/api";
import { startLanguage } from "./lib/prefs";
import { signedIn, signedOut } from "./lib/session";
import type { Me } from "./lib/types";
import { router } from "./router";
import "./style.css";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // What the server has refused it refuses again; only a lost connection is worth another try.
      retry: (tries, error) => tries < 2 && error instanceof ApiError && (error.status === 0 || error.status >= 500),
      refetchOnWindowFocus: true,
    },
  },
});

async function begin() {
  await startLanguage();
  createRoot(document.getElementById("root") as HTMLElement).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
  if (!hasSession()) return signedOut();
  try {
    signedIn(await get<Me>("/user/me"));
  } catch {
    signedOut();
  }
}

void begin();
