import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.http.ProblemDetail;
import org.springframework.http.client.ClientHttpRequestFactory;
import org.springframework.http.client.HttpComponentsClientHttpRequestFactory;
import org.springframework.http.client.JdkClientHttpRequestFactory;
import org.springframework.http.client.SimpleClientHttpRequestFactory;
import org.springframework.web.client.HttpClientErrorException;
import org.springframework.web.client.RestClient;

/** Spring's RestClient with its defaults, over each of the clients that it sends requests with. */
class Spring {
    static String tried(RestClient http, String payment) {
        var body = Map.of("account", "abc", "amount", 100);
        var at = "/v1/payments/" + payment;
        var made = http.post().uri(at).body(body).retrieve().toEntity(Map.class);
        var head = http.head().uri(at + "/events").retrieve().toBodilessEntity();
        var read = http.get().uri("/v1/accounts/abc").retrieve().toEntity(Map.class);
        var gone = http.post().uri(at + "/cancel").retrieve().toEntity(Map.class);
        String refused;
        try {
            http.get().uri("/v1/payments/never-" + payment).retrieve().toEntity(Map.class);
            refused = "not refused";
        } catch (HttpClientErrorException error) {
            var problem = error.getResponseBodyAs(ProblemDetail.class);
            refused = error.getStatusCode().value() + " " + problem.getType();
        }
        var again = http.post().uri(at).body(body).retrieve()
            .onStatus(status -> status.value() == 409, (request, response) -> {})
            .toEntity(Map.class);
        var first = http.get().uri(at + "/events").exchange((request, response) ->
            new BufferedReader(new InputStreamReader(response.getBody())).readLine(), false);
        return made.getStatusCode().value() + " " + head.getStatusCode().value() + " "
            + read.getStatusCode().value() + " " + gone.getStatusCode().value() + " " + first
            + ", " + refused + ", " + again.getStatusCode().value();
    }

    public static void main(String[] arguments) {
        var factories = new LinkedHashMap<String, ClientHttpRequestFactory>();
        factories.put("jdk", new JdkClientHttpRequestFactory());
        factories.put("components", new HttpComponentsClientHttpRequestFactory());
        factories.put("simple", new SimpleClientHttpRequestFactory());
        factories.forEach((name, factory) -> {
            var http = RestClient.builder().baseUrl(arguments[0]).requestFactory(factory).build();
            System.out.println(name + ": " + tried(http, "spring-" + name));
        });
        System.exit(0);
    }
}
