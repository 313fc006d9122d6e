/** Rowcast with TanStack Query: `rowcast/query`. */

export { bindQueryClient } from "./bind.js";
export type { Binding, BindingOptions } from "./bind.js";
export type { QueryClient, QueryKey } from "./cache.js";
export { realtimeQueryOptions } from "./options.js";
export type { RealtimeQueryOptions } from "./options.js";
