// Builds the console into the Python package. Nothing is inlined: the policy of the pages allows no inline script or
// style, and a file's name holds its hash, so that browsers may keep it for ever.
import tailwind from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const gateway = "http://127.0.0.1:8787";
const paths = ["/admin", "/user", "/login", "/logout", "/v1", "/v1beta", "/readyz", "/healthz"];

export default defineConfig({
  base: "/console/",
  plugins: [react(), tailwind()],
  build: {
    outDir: process.env.CONSOLE_OUT ?? "../src/gproxy/console/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: { proxy: Object.fromEntries(paths.map((path) => [path, gateway])) },
});
