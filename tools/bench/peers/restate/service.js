// The payment processor as a Restate service: a payment object, an account object, an expiry timer.
//
// It does the same job as the processor it is compared with: a payment happens once, the same id with
// another request is refused, a cancel prevents or undoes, no account goes below zero, and a payment is
// forgotten a retention after its last change. Port and opening balance come from the environment.

import * as restate from "@restatedev/restate-sdk";

// The SDK uses this function of Node 22; Node 20 has all else that it needs.
Promise.withResolvers ??= () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

const PORT = Number(process.env.PORT ?? 9080);
const OPENING_BALANCE = Number(process.env.OPENING_BALANCE ?? 0);
const RETENTION_MS = Number(process.env.RETENTION_SECONDS ?? 86400) * 1000;
const CURRENCY = "EUR";
const BAD_REQUEST = { errorCode: 422 };

const accounts = { name: "accounts" };
const payments = { name: "payments" };

function answer(ctx, type, outcome, payment, more = {}) {
  return { payment: ctx.key, type, outcome, reason: null, replayed: false, ...payment, ...more };
}

function checked(request) {
  const { accountId, amount, currency = CURRENCY } = request ?? {};
  if (typeof accountId !== "string" || accountId === "") {
    throw new restate.TerminalError("accountId must be a string", BAD_REQUEST);
  }
  if (!Number.isSafeInteger(amount) || amount < 1) {
    throw new restate.TerminalError("amount must be a positive integer", BAD_REQUEST);
  }
  return { account: accountId, amount, currency };
}

function difference(stored, request) {
  return ["account", "amount", "currency"].find((field) => stored[field] !== request[field]);
}

// The timer of the last change is the one that counts: an older one finds another number.
function remember(ctx, payment) {
  const change = (payment.change ?? 0) + 1;
  ctx.set("payment", { ...payment, change });
  ctx.genericSend({
    service: payments.name,
    method: "expire",
    key: ctx.key,
    parameter: change,
    inputSerde: restate.serde.json,
    delay: RETENTION_MS,
  });
}

function move(ctx, account, amount) {
  return ctx.genericCall({
    service: accounts.name,
    method: "move",
    key: account,
    parameter: amount,
    inputSerde: restate.serde.json,
    outputSerde: restate.serde.json,
  });
}

const paymentObject = restate.object({
  name: payments.name,
  handlers: {
    async makePayment(ctx, body) {
      const request = checked(body);
      const stored = await ctx.get("payment");
      if (stored?.state === "cancelled") {
        return answer(ctx, "make", "cancelled", { state: "cancelled" });
      }
      if (stored !== null) {
        const field = difference(stored, request);
        if (field !== undefined) {
          return answer(ctx, "make", "rejected", stored, { reason: `different_${field}` });
        }
        return answer(ctx, "make", "completed", stored, { replayed: true });
      }
      if (!(await move(ctx, request.account, -request.amount))) {
        return answer(ctx, "make", "declined", request, { reason: "insufficient_funds" });
      }
      const payment = { state: "completed", ...request };
      remember(ctx, payment);
      return answer(ctx, "make", "completed", payment);
    },

    async cancelPayment(ctx) {
      const stored = await ctx.get("payment");
      if (stored?.state === "cancelled") {
        return answer(ctx, "cancel", "cancelled", stored, { replayed: true });
      }
      if (stored !== null) {
        await move(ctx, stored.account, stored.amount);
      }
      const reason = stored === null ? "prevented" : "rolled_back";
      const payment = { ...stored, state: "cancelled" };
      remember(ctx, payment);
      return answer(ctx, "cancel", "cancelled", payment, { reason });
    },

    expire: restate.handlers.object.exclusive({ ingressPrivate: true }, async (ctx, change) => {
      const stored = await ctx.get("payment");
      if (stored?.change === change) ctx.clearAll();
    }),
  },
});

const accountObject = restate.object({
  name: accounts.name,
  handlers: {
    // Adds an amount, below zero to take it; answers whether the balance allowed it.
    move: restate.handlers.object.exclusive({ ingressPrivate: true }, async (ctx, amount) => {
      const balance = ((await ctx.get("balance")) ?? OPENING_BALANCE) + amount;
      if (balance < 0) return false;
      ctx.set("balance", balance);
      return true;
    }),

    balance: restate.handlers.object.exclusive(async (ctx) => ({
      balance: (await ctx.get("balance")) ?? OPENING_BALANCE,
    })),
  },
});

restate.serve({ services: [paymentObject, accountObject], port: PORT });
