/** For tests with components: they are gone after each test, and a slow machine is waited for. */

import { cleanup, configure } from "@testing-library/react";
import { afterEach } from "vitest";

configure({ asyncUtilTimeout: 10_000 });
afterEach(cleanup);
