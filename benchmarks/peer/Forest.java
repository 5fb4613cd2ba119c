import com.amazon.randomcutforest.RandomCutForest;
import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * A Random Cut Forest a series over one-point JSON records, run by peers.py:
 * Forest BOOTSTRAP TOPIC PARTITIONS TREES SAMPLES SHINGLE RECORDS SECONDS.
 *
 * Prints JSON when it has seen so many records or worked so long. The labels' text is the key and no JSON is parsed, which is
 * kind to it. Bytes a series: heap after collection, less the same without them, of FILLED forests that have seen POINTS points.
 */
public class Forest {
    static final int FILLED = 100, POINTS = 600;

    final int trees, samples, shingle;
    final Map<String, RandomCutForest> forests = new HashMap<>();
    double scores;

    Forest(int trees, int samples, int shingle) {
        this.trees = trees;
        this.samples = samples;
        this.shingle = shingle;
    }

    RandomCutForest forest() {
        return RandomCutForest.builder().numberOfTrees(trees).sampleSize(samples).dimensions(shingle).shingleSize(shingle)
                .internalShinglingEnabled(shingle > 1).build();
    }

    void judge(RandomCutForest forest, double value) {
        double[] point = {value};
        scores += forest.getAnomalyScore(point);
        forest.update(point);
    }

    void take(String record) {
        int at = record.indexOf("\"value\":\"") + 9;
        double value = Double.parseDouble(record.substring(at, record.indexOf('"', at)));
        judge(forests.computeIfAbsent(record.substring(record.indexOf("\"labels\":")), key -> forest()), value);
    }

    double bytes() throws InterruptedException {
        List<RandomCutForest> filled = new ArrayList<>();
        Random random = new Random(1);
        long before = heap();
        for (int i = 0; i < FILLED; i++) {
            RandomCutForest forest = forest();
            for (int k = 0; k < POINTS; k++) {
                judge(forest, random.nextDouble() * 100);
            }
            filled.add(forest);
        }
        double grown = heap() - before;
        return grown / filled.size();
    }

    static long heap() throws InterruptedException {
        for (int i = 0; i < 3; i++) {
            System.gc();
            Thread.sleep(50);
        }
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }

    static long cpu() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    public static void main(String[] argument) throws Exception {
        Properties to = new Properties();
        to.put("bootstrap.servers", argument[0]);
        to.put("key.deserializer", StringDeserializer.class.getName());
        to.put("value.deserializer", StringDeserializer.class.getName());
        List<TopicPartition> places = new ArrayList<>();
        for (int p = 0; p < Integer.parseInt(argument[2]); p++) {
            places.add(new TopicPartition(argument[1], p));
        }
        Forest all = new Forest(Integer.parseInt(argument[3]), Integer.parseInt(argument[4]), Integer.parseInt(argument[5]));
        long records = Long.parseLong(argument[6]), seen = 0, began = 0, used = 0;
        double seconds = Double.parseDouble(argument[7]), took = 0;
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(to)) {
            consumer.assign(places);
            consumer.seekToBeginning(places);
            while (seen < records && took < seconds) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    if (seen++ == 0) {
                        began = System.nanoTime();
                        used = cpu();
                    }
                    all.take(record.value());
                }
                took = seen == 0 ? 0 : (System.nanoTime() - began) / 1e9;
            }
        }
        double spent = (cpu() - used) / 1e9;
        int series = all.forests.size();
        all.forests.clear();
        System.out.printf("{\"points_per_s\": %f, \"points_per_cpu_s\": %f, \"points\": %d, \"series\": %d, \"bytes_per_series\": %f}%n",
                seen / took, seen / spent, seen, series, all.bytes());
    }
}
