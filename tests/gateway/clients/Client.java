import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;

/** Java's HttpClient with its defaults, which ask for HTTP/2 with each first request. */
class Client {
    static final HttpClient HTTP = HttpClient.newHttpClient();
    static String base;

    static HttpResponse<String> send(HttpRequest.Builder request) throws Exception {
        return HTTP.send(request.build(), BodyHandlers.ofString());
    }

    static HttpRequest.Builder at(String path) {
        return HttpRequest.newBuilder(URI.create(base + path));
    }

    public static void main(String[] arguments) throws Exception {
        base = arguments[0];
        var body = BodyPublishers.ofString("{\"account\":\"abc\",\"amount\":100}");
        var json = "application/json; charset=UTF-8";
        var made = send(at("/v1/payments/java").header("Content-Type", json).POST(body));
        var head = send(at("/v1/payments/java/events").method("HEAD", BodyPublishers.noBody()));
        var read = send(at("/v1/accounts/abc"));
        var gone = send(at("/v1/payments/java/cancel").POST(BodyPublishers.noBody()));
        var events = HTTP.send(at("/v1/payments/java/events").build(), BodyHandlers.ofLines());
        var first = events.body().findFirst().orElseThrow();
        System.out.println(made.statusCode() + " " + head.statusCode() + " " + read.statusCode()
            + " " + gone.statusCode() + " " + first);
        System.exit(0);
    }
}
