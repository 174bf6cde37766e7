/**
 * The payment processor on Kafka Streams: two stages, joined by topics, like the one it is compared with.
 *
 * <p>Arguments: prefix of the topics' names, opening balance, file with the properties of Kafka Streams.
 */

import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

public final class PaymentsOnStreams {
    private static final Deserializer<String> KEY_IN = new StringDeserializer();
    private static final Serializer<String> KEY_OUT = new StringSerializer();

    private PaymentsOnStreams() {}

    public static void main(String[] given) throws Exception {
        Properties properties = new Properties();
        try (Reader file = Files.newBufferedReader(Path.of(given[2]))) {
            properties.load(file);
        }
        Topology topology = topology(given[0], Long.parseLong(given[1]));
        KafkaStreams streams = new KafkaStreams(topology, properties);
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    return StreamThreadExceptionResponse.REPLACE_THREAD;
                });
        streams.setStateListener(
                (state, before) -> {
                    System.out.println("streams state " + state);
                    if (state.hasCompletedShutdown()) ended.countDown();
                });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        ended.await();
    }

    private static Topology topology(String prefix, long openingBalance) {
        Topology topology = new Topology();
        Deserializer<Records.Message> message = Records.serde(Records.Message.class).deserializer();
        topology.addSource("commands", KEY_IN, message, prefix + "commands");
        topology.addSource("inbox", KEY_IN, message, prefix + "inbox");
        topology.addProcessor("payments", PaymentsStage::new, "commands", "inbox");
        topology.addStateStore(store(PaymentsStage.STORE, Records.Payment.class), "payments");
        sink(topology, PaymentsStage.TRANSFERS, prefix + "transfers", Records.Transfer.class, "payments");
        sink(topology, PaymentsStage.RESULTS, prefix + "results", Records.Result.class, "payments");

        Deserializer<Records.Transfer> transfer = Records.serde(Records.Transfer.class).deserializer();
        topology.addSource("transfers", KEY_IN, transfer, prefix + "transfers");
        topology.addProcessor("accounts", () -> new AccountsStage(openingBalance), "transfers");
        topology.addStateStore(store(AccountsStage.STORE, Records.Account.class), "accounts");
        sink(topology, AccountsStage.INBOX, prefix + "inbox", Records.Message.class, "accounts");
        sink(topology, AccountsStage.LEDGER, prefix + "ledger", Records.Entry.class, "accounts");
        return topology;
    }

    private static <T> StoreBuilder<KeyValueStore<String, T>> store(String name, Class<T> row) {
        Serde<T> serde = Records.serde(row);
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.String(), serde);
    }

    private static <T> void sink(Topology topology, String name, String topic, Class<T> type, String from) {
        topology.addSink(name, topic, KEY_OUT, Records.serde(type).serializer(), from);
    }
}
