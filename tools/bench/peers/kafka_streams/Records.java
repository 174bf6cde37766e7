/** The records that travel between clients and stages, and the rows of the two stores: JSON, one shape each. */

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

final class Records {
    private static final ObjectMapper JSON =
            new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);

    private Records() {}

    /** What the payments stage takes in: a command of a client, or ("settled") how a transfer ended. */
    record Message(String type, String id, String account, long amount, String currency, boolean ok) {}

    /** Asks the accounts stage to add an amount to an account; below zero it is taken. */
    record Transfer(String payment, long amount) {}

    record Waiter(String command, String type) {}

    /** A payment: what was asked, where it stands, and who waits for its end. */
    record Payment(String state, String account, long amount, String currency, List<Waiter> waiters) {
        Payment in(String newState) {
            return new Payment(newState, account, amount, currency, waiters);
        }

        Payment with(List<Waiter> newWaiters) {
            return new Payment(state, account, amount, currency, newWaiters);
        }
    }

    record Account(long balance, long sequence) {}

    record Result(
            String payment,
            String command,
            String type,
            String outcome,
            String reason,
            boolean replayed,
            String state,
            String account,
            Long amount,
            String currency,
            long time) {}

    record Entry(String account, long sequence, String payment, long amount, long balance, long time) {}

    static <T> Serde<T> serde(Class<T> type) {
        ObjectReader reader = JSON.readerFor(type);
        ObjectWriter writer = JSON.writerFor(type);
        return Serdes.serdeFrom((topic, value) -> write(writer, value), (topic, bytes) -> read(reader, bytes));
    }

    private static byte[] write(ObjectWriter writer, Object value) {
        try {
            return value == null ? null : writer.writeValueAsBytes(value);
        } catch (JsonProcessingException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static <T> T read(ObjectReader reader, byte[] bytes) {
        try {
            return bytes == null ? null : reader.readValue(bytes);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
