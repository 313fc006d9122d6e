import { QueryClient } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createRealtimeClient, type Status } from "rowcast";
import { bindQueryClient } from "rowcast/query";
import { RealtimeProvider, useConnectionStatus, useRealTimeBookings } from "rowcast/react";

const client = createRealtimeClient({ url: "/", getToken: () => "token" });
bindQueryClient(new QueryClient(), client, { services: ["services"] });

function Bookings({ userId }: { userId: string }) {
  const { bookings, loading, error } = useRealTimeBookings(userId);
  const status: Status = useConnectionStatus();
  if (loading) return <p>{status}</p>;
  if (error) return <p role="alert">{error.message}</p>;
  return (
    <ul>
      {bookings.map((booking) => (
        <li key={booking.id}>{booking.status}</li>
      ))}
    </ul>
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <RealtimeProvider client={client}>
      <Bookings userId="1" />
    </RealtimeProvider>
  </StrictMode>,
);
