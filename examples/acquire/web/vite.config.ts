import { built } from "../../web-shared/vite.ts";

export default built();
