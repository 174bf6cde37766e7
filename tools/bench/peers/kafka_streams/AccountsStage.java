/** The accounts stage: one balance for each account, never below zero; one ledger entry for each move. */

import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

final class AccountsStage implements Processor<String, Records.Transfer, String, Object> {
    static final String STORE = "accounts";
    static final String INBOX = "inbox-sink";
    static final String LEDGER = "ledger-sink";

    private final long openingBalance;
    private ProcessorContext<String, Object> context;
    private KeyValueStore<String, Records.Account> rows;

    AccountsStage(long openingBalance) {
        this.openingBalance = openingBalance;
    }

    @Override
    public void init(ProcessorContext<String, Object> given) {
        context = given;
        rows = given.getStateStore(STORE);
    }

    @Override
    public void process(Record<String, Records.Transfer> record) {
        Records.Transfer transfer = record.value();
        Records.Account account = rows.get(record.key());
        if (account == null) account = new Records.Account(openingBalance, 0);
        long balance = account.balance() + transfer.amount();
        boolean ok = balance >= 0;
        if (ok) {
            Records.Account moved = new Records.Account(balance, account.sequence() + 1);
            rows.put(record.key(), moved);
            Object entry =
                    new Records.Entry(
                            record.key(),
                            moved.sequence(),
                            transfer.payment(),
                            transfer.amount(),
                            balance,
                            record.timestamp());
            context.forward(new Record<>(record.key(), entry, record.timestamp()), LEDGER);
        }
        Object settled = new Records.Message("settled", null, null, 0, null, ok);
        context.forward(new Record<>(transfer.payment(), settled, record.timestamp()), INBOX);
    }
}
