/** The payments stage: one row for each payment id; what each message does to it in each state. */

import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

final class PaymentsStage implements Processor<String, Records.Message, String, Object> {
    static final String STORE = "payments";
    static final String TRANSFERS = "transfers-sink";
    static final String RESULTS = "results-sink";

    private ProcessorContext<String, Object> context;
    private KeyValueStore<String, Records.Payment> rows;

    @Override
    public void init(ProcessorContext<String, Object> given) {
        context = given;
        rows = given.getStateStore(STORE);
    }

    @Override
    public void process(Record<String, Records.Message> record) {
        String id = record.key();
        Records.Message message = record.value();
        Records.Payment payment = rows.get(id);
        switch (message.type()) {
            case "make" -> make(record, id, message, payment);
            case "cancel" -> cancel(record, id, message, payment);
            case "settled" -> settled(record, id, message.ok(), payment);
            default -> {
                Records.Waiter asker = new Records.Waiter(message.id(), message.type());
                answer(record, id, asker, "rejected", "unknown_type", false, payment);
            }
        }
    }

    private void make(
            Record<String, Records.Message> record, String id, Records.Message message, Records.Payment payment) {
        Records.Waiter asker = new Records.Waiter(message.id(), "make");
        if (payment == null) {
            rows.put(
                    id,
                    new Records.Payment(
                            "pending", message.account(), message.amount(), message.currency(), List.of(asker)));
            transfer(record, message.account(), id, -message.amount());
            return;
        }
        String difference = payment.account() == null ? null : difference(payment, message);
        if (difference != null) {
            answer(record, id, asker, "rejected", "different_" + difference, false, payment);
        } else if (payment.state().equals("completed") || payment.state().equals("cancelled")) {
            answer(record, id, asker, payment.state(), null, true, payment);
        } else {
            await(id, payment, asker);
        }
    }

    private void cancel(
            Record<String, Records.Message> record, String id, Records.Message message, Records.Payment payment) {
        Records.Waiter asker = new Records.Waiter(message.id(), "cancel");
        if (payment == null) {
            Records.Payment cancelled = new Records.Payment("cancelled", null, 0, null, List.of());
            rows.put(id, cancelled);
            answer(record, id, asker, "cancelled", "prevented", false, cancelled);
            return;
        }
        switch (payment.state()) {
            case "pending" -> await(id, payment.in("cancelling"), asker);
            case "completed" -> {
                await(id, payment.in("reversing"), asker);
                transfer(record, payment.account(), id, payment.amount());
            }
            case "cancelled" -> answer(record, id, asker, "cancelled", null, true, payment);
            default -> await(id, payment, asker);
        }
    }

    private void settled(Record<String, Records.Message> record, String id, boolean ok, Records.Payment payment) {
        switch (payment.state()) {
            case "pending" -> {
                if (ok) {
                    finish(record, id, payment.in("completed"), "completed", null);
                } else {
                    rows.delete(id);
                    answerAll(record, id, payment.in(null), "declined", "insufficient_funds");
                }
            }
            case "cancelling" -> {
                if (ok) {
                    rows.put(id, payment.in("reversing"));
                    transfer(record, payment.account(), id, payment.amount());
                } else {
                    finish(record, id, payment.in("cancelled"), "cancelled", "prevented");
                }
            }
            case "reversing" -> finish(record, id, payment.in("cancelled"), "cancelled", "rolled_back");
            default -> throw new IllegalStateException(id + " is " + payment.state() + ", yet a transfer settled");
        }
    }

    private static String difference(Records.Payment payment, Records.Message message) {
        if (!payment.account().equals(message.account())) return "account";
        if (payment.amount() != message.amount()) return "amount";
        return payment.currency().equals(message.currency()) ? null : "currency";
    }

    private void await(String id, Records.Payment payment, Records.Waiter asker) {
        List<Records.Waiter> waiters = new ArrayList<>(payment.waiters());
        waiters.add(asker);
        rows.put(id, payment.with(waiters));
    }

    private void finish(
            Record<String, Records.Message> record, String id, Records.Payment payment, String outcome, String reason) {
        rows.put(id, payment.with(List.of()));
        answerAll(record, id, payment, outcome, reason);
    }

    private void answerAll(
            Record<String, Records.Message> record, String id, Records.Payment payment, String outcome, String reason) {
        for (Records.Waiter waiter : payment.waiters()) {
            answer(record, id, waiter, outcome, reason, false, payment);
        }
    }

    private void answer(
            Record<String, Records.Message> record,
            String id,
            Records.Waiter asker,
            String outcome,
            String reason,
            boolean replayed,
            Records.Payment payment) {
        boolean stored = payment != null && payment.account() != null;
        Records.Result result =
                new Records.Result(
                        id,
                        asker.command(),
                        asker.type(),
                        outcome,
                        reason,
                        replayed,
                        payment == null ? null : payment.state(),
                        stored ? payment.account() : null,
                        stored ? payment.amount() : null,
                        stored ? payment.currency() : null,
                        record.timestamp());
        context.forward(new Record<>(id, (Object) result, record.timestamp()), RESULTS);
    }

    private void transfer(Record<String, Records.Message> record, String account, String id, long amount) {
        Object value = new Records.Transfer(id, amount);
        context.forward(new Record<>(account, value, record.timestamp()), TRANSFERS);
    }
}
