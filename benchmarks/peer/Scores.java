import com.amazon.randomcutforest.RandomCutForest;
import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A Random Cut Forest a series, run by detectors.py: Scores IN OUT TREES SAMPLES SHINGLE.
 *
 * IN holds series one after the other, each an int n and n doubles, big-endian; OUT gets n doubles for each: a point's anomaly
 * score, taken before the point is learned, 0 until the forest says anything. Prints the seconds of CPU that scoring took; the
 * first series is scored once before, so that compiling is not in them.
 */
public class Scores {
    static double[] judged(double[] value, int trees, int samples, int shingle) {
        RandomCutForest forest = RandomCutForest.builder().numberOfTrees(trees).sampleSize(samples).dimensions(shingle)
                .shingleSize(shingle).internalShinglingEnabled(shingle > 1).randomSeed(1).build();
        double[] score = new double[value.length];
        double[] point = new double[1];
        for (int i = 0; i < value.length; i++) {
            point[0] = value[i];
            score[i] = forest.getAnomalyScore(point);
            forest.update(point);
        }
        return score;
    }

    static long cpu() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    public static void main(String[] argument) throws Exception {
        int trees = Integer.parseInt(argument[2]), samples = Integer.parseInt(argument[3]), shingle = Integer.parseInt(argument[4]);
        long spent = 0;
        boolean warm = false;
        try (DataInputStream in = new DataInputStream(new BufferedInputStream(Files.newInputStream(Path.of(argument[0]))));
                DataOutputStream out = new DataOutputStream(new BufferedOutputStream(Files.newOutputStream(Path.of(argument[1]))))) {
            while (true) {
                int n;
                try {
                    n = in.readInt();
                } catch (EOFException end) {
                    break;
                }
                double[] value = new double[n];
                for (int i = 0; i < n; i++) {
                    value[i] = in.readDouble();
                }
                if (!warm) {
                    judged(value, trees, samples, shingle);
                    warm = true;
                }
                long began = cpu();
                double[] score = judged(value, trees, samples, shingle);
                spent += cpu() - began;
                for (double s : score) {
                    out.writeDouble(s);
                }
            }
        }
        System.out.println(spent / 1e9);
    }
}
